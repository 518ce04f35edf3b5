"""Two hundred bad command lines: one line, exit code 2, nothing left behind, nothing overwritten."""

import os
import shutil
import stat
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from models import synthetic
from requant.cli.run import run

SPEC = synthetic.Transformer(width=16, heads=2, layers=1, hidden=16)
KINDS = (
    "folder",
    "pipe",
    "device",
    "loop",
    "model.onnx",
    "hard.onnx",
    "link.onnx",
    "data.npz",
    "absent/o.onnx",
    "-",
    "",
)
"""Places where no model may be written."""


@pytest.fixture(scope="module")
def originals(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("originals")
    onnx.save(synthetic.pre_norm(SPEC), folder / "model.onnx")
    x = np.concatenate([feed["x"] for feed in synthetic.feeds(SPEC, 2)])
    np.savez(folder / "data.npz", x=x)
    np.savez(folder / "other.npz", z=x)
    np.save(folder / "flat.npy", x[..., 0])
    (folder / "text.npz").write_text("hello")
    (folder / "text.onnx").write_text("hello")
    (folder / "empty.onnx").touch()
    return folder


@pytest.fixture
def folder(originals: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copytree(originals, tmp_path, dirs_exist_ok=True)
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "device").touch()
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "link.onnx").symlink_to("model.onnx")
    os.link(tmp_path / "model.onnx", tmp_path / "hard.onnx")
    _pretend_device(tmp_path / "device", monkeypatch)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def _pretend_device(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the system say that a plain file is a character device: a real one is not for tests to touch."""
    real, fields = os.stat, os.stat(path)
    faked = os.stat_result((stat.S_IFCHR | 0o666, *fields[1:]))

    def fake(name: Any, **options: Any) -> os.stat_result:
        return faked if str(name) in (path.name, str(path)) else real(name, **options)

    monkeypatch.setattr(os, "stat", fake)


GOOD = ["optimize", "model.onnx", "-c", "data.npz", "-o", "out.onnx"]
MODELS = ("", "absent.onnx", "folder", "pipe", "device", "loop", "text.onnx", "empty.onnx", "data.npz", ".", "m" * 300)
DATA = ("", "absent.npz", "folder", "pipe", "device", "loop", "text.npz", "other.npz", "flat.npy", "model.onnx")
VERBS = (["optimize", "{}"], ["inspect", "{}"], ["check", "{}"], ["check", "{}", "--fix"])
WORDS = ("", "fp16", "None", "INT8", "int9")
OPTIONS = ("--target", "-t", "--recipe", "--precision", "--keep", "--report")

LINES: list[list[str]] = [
    *([word.format(model) for word in verb] for verb, model in product(VERBS, MODELS)),
    *(["compare", model, "model.onnx"] for model in MODELS),
    *(["compare", "model.onnx", model] for model in MODELS),
    *(["bench", "model.onnx", model] for model in MODELS),
    *(["optimize", "model.onnx", "-c", data] for data in DATA),
    *(["compare", "model.onnx", "model.onnx", "-d", data] for data in DATA),
    *(["bench", "model.onnx", "-d", data] for data in DATA),
    *([*GOOD[:-1], place] for place in KINDS),
    *(["check", "model.onnx", "--fix", "-o", place] for place in KINDS if place != "data.npz"),
    *([*GOOD, "--report", f"{place}{end}"] for place in ("absent/r", "report") for end in ("", ".txt", ".onnx")),
    [*GOOD, "--report", "out.onnx"],
    [*GOOD, "--report", "absent/report.json"],
    *([verb, "model.onnx", "-t", word] for verb in ("check", "bench") for word in WORDS),
    *([verb, "model.onnx", "--fast"] for verb in ("inspect", "check", "compare", "bench")),
    *([*GOOD, option, word] for option in OPTIONS for word in WORDS),
    *([*GOOD, *more] for more in (["--fast"], ["extra"], ["--half-io"], ["--precision"], ["-c"], ["--json=1"])),
    *([verb] for verb in ("optimize", "inspect", "check", "compare", "bench", "frobnicate", "")),
    *(["bench", "model.onnx", option, value] for option in ("--runs", "--threads") for value in ("0", "-1", "x", "")),
    ["check", "model.onnx", "-o", "out.onnx"],
    ["check", "model.onnx", "-t", "tpu"],
    ["bench", "model.onnx", "-t", "tpu"],
    ["compare", "model.onnx"],
]


def _contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() if path.is_file() else b"" for path in folder.iterdir()}


def test_there_are_two_hundred() -> None:
    assert len(LINES) >= 200


@pytest.mark.parametrize("line", LINES, ids=[" ".join(line)[:80] for line in LINES])
def test_a_bad_command_line_gets_one_line(line: list[str], folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = _contents(folder)
    assert run(line) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    lines = [text for text in printed.err.splitlines() if not text.startswith("warning: no calibration data")]
    assert len(lines) == 1
    assert lines[0].startswith("requant: ")
    assert _contents(folder) == before
