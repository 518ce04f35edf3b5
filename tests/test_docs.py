"""The README and the pages of docs: their Python runs and prints what they say, their links and names lead somewhere.

On each page the blocks marked ``python`` run in order, in one namespace and a folder that holds `model.onnx` and
`calibration.npz`; a block marked ``text`` or ``mermaid`` right behind one is what it prints, with numbers within 5 %.
Blocks marked ``py`` do not run: they need a GPU, or packages that the tests have not.

REQUANT_WRITE_DOCS=1 writes what is printed into the pages.
"""

import io
import math
import os
import pkgutil
import re
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout
from pathlib import Path
from unittest.mock import patch

import numpy as np
import onnx
import pytest

from requant.runtime.targets import TARGETS

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(r"^```python\n(?P<code>.*?)^```$(?:\n\n```(?:text|mermaid)\n(?P<printed>.*?)^```$)?", re.M | re.S)
FENCED = re.compile(r"^```.*?^```$|^(?: {4}|\t).*?$", re.M | re.S)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:e[+-]?\d+)?")
MODEL = """
    (float[batch, tokens, 32] x) => (float[batch, tokens, 32] y)
    <float[32] gamma, float[32] beta, float[32, 64] W1, float[64] b1, float[64, 32] W2, float[32] b2> {
        normed = LayerNormalization (x, gamma, beta)
        up = MatMul (normed, W1)
        biased = Add (up, b1)
        active = Relu (biased)
        down = MatMul (active, W2)
        y = Add (down, b2)
    }
"""


def title(page: Path) -> str:
    return str(page.relative_to(ROOT))


def runnable() -> list[Path]:
    return [page for page in PAGES if BLOCK.search(page.read_text(encoding="utf-8"))]


@pytest.fixture
def folder(tmp_path: Path, build: Callable[[str], onnx.ModelProto], monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Work in a folder with a model and its data, and leave the table of engines as it was."""
    rng = np.random.default_rng(0)
    onnx.save(build(MODEL), tmp_path / "model.onnx")
    np.savez(tmp_path / "calibration.npz", x=rng.standard_normal((24, 8, 32)).astype(np.float32))
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(ROOT))
    with patch.dict(TARGETS):
        yield


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize("page", runnable(), ids=title)
def test_the_python_of_a_page_runs_and_prints_what_it_says(page: Path) -> None:
    text, namespace = page.read_text(encoding="utf-8"), {"__name__": "__main__"}
    shown: list[tuple[re.Match[str], str]] = []
    for block in BLOCK.finditer(text):
        above = "\n" * (text[: block.start("code")].count("\n"))
        with redirect_stdout(io.StringIO()) as printed:
            exec(compile(above + block["code"], title(page), "exec"), namespace)
        if block["printed"] is not None:
            shown.append((block, printed.getvalue()))
    if os.environ.get("REQUANT_WRITE_DOCS"):
        for block, actual in reversed(shown):
            text = text[: block.start("printed")] + actual + text[block.end("printed") :]
        page.write_text(text, encoding="utf-8")
        return
    for block, actual in shown:
        assert alike(block["printed"], actual), f"printed is\n{actual}\nwhere the page has\n{block['printed']}"


def alike(shown: str, actual: str) -> bool:
    """Whether two texts differ in white space at the ends of lines and in the last digits of numbers at most."""
    left, right = ([line.rstrip() for line in NUMBER.sub("#", text).splitlines()] for text in (shown, actual))
    pairs = zip(NUMBER.findall(shown), NUMBER.findall(actual), strict=False)
    return left == right and all(math.isclose(float(a), float(b), rel_tol=0.05, abs_tol=0.02) for a, b in pairs)


@pytest.mark.parametrize("page", PAGES, ids=title)
def test_the_links_of_a_page_lead_somewhere(page: Path) -> None:
    broken = []
    for link in LINK.findall(FENCED.sub("", page.read_text(encoding="utf-8"))):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        linked = (page.parent / path).resolve() if path else page
        inside = ROOT / "docs" if ROOT / "docs" in page.parents else ROOT
        if not linked.exists() or not linked.is_relative_to(inside) or (anchor and anchor not in anchors(linked)):
            broken.append(link)
    assert not broken


def anchors(page: Path) -> set[str]:
    """The headings of a page as GitHub and mkdocs call them, where both agree."""
    headings = re.findall(r"^#+ (.*)$", FENCED.sub("", page.read_text(encoding="utf-8")), re.M)
    plain = [re.sub(r"[^\w\- ]", "", heading.lower()).strip() for heading in headings]
    return {heading.replace(" ", "-") for heading in plain if "  " not in heading and heading.isascii()}


@pytest.mark.parametrize("page", PAGES, ids=title)
def test_what_a_page_names_is_there(page: Path) -> None:
    text = FENCED.sub("", page.read_text(encoding="utf-8"))
    names = re.findall(r"`(requant(?:\.\w+)+)`|^::: (\S+)$", text, re.M)
    files = re.findall(r"`((?:requant|examples|benchmarks|tests|models|docs)/[\w/]+(?:\.\w+)?)`", text)
    missing = [name for pair in names for name in pair if name and not resolves(name)]
    assert [*missing, *(file for file in files if not (ROOT / file).exists())] == []


def test_the_glossary_names_what_the_sources_hold() -> None:
    rows = re.findall(r"^\|[^|]+\|([^|]+)\|", (ROOT / "docs/glossary.md").read_text(encoding="utf-8"), re.M)
    names = set(re.findall(r"[A-Za-z_]\w+", " ".join(code for row in rows for code in re.findall("`([^`/]+)`", row))))
    sources = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "requant").rglob("*.py"))
    assert sorted(name for name in names if not re.search(rf"\b{name}\b", sources)) == []


def test_the_site_leads_to_every_page() -> None:
    pages = re.findall(r"\S+\.md$", (ROOT / "mkdocs.yml").read_text(encoding="utf-8"), re.M)
    assert sorted(pages) == sorted(str(page.relative_to(ROOT / "docs")) for page in (ROOT / "docs").rglob("*.md"))


def resolves(name: str) -> bool:
    """Whether ``name`` is a module, or something in one."""
    try:
        pkgutil.resolve_name(name)
    except (ImportError, AttributeError):
        return False
    return True
