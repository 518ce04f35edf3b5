"""The house keeps its order: imports go one way, a name has one meaning, files and functions stay short."""

import ast
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1] / "requant"
FILES = sorted(ROOT.rglob("*.py"))
MAY_IMPORT = {
    "ir": {"ir"},
    "runtime": {"ir", "runtime"},
    "calib": {"ir", "runtime", "calib"},
    "passes": {"ir", "runtime", "calib", "passes"},
}
"""The rooms that each room may import; the top level may import all."""

SHARED = {"requant.choices", "requant.deprecation", "requant.errors"}
"""Modules of the top level that every room may import."""

LONGEST_FILE, LONGEST_FUNCTION = 200, 60


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def module(path: Path) -> str:
    parts = path.relative_to(ROOT.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module(path): path for path in FILES}


def imports(path: Path) -> Iterator[str]:
    """The modules of the library that ``path`` imports, at the top or in a function."""
    package = path.relative_to(ROOT.parent).parent.parts
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = ".".join((*package[: len(package) - node.level + 1], *filter(None, [node.module])))
            yield from (name if name in MODULES else base for name in (f"{base}.{alias.name}" for alias in node.names))


def room(name: str) -> str:
    parts = name.split(".")
    return parts[1] if len(parts) > 1 and parts[1] in MAY_IMPORT else ""


@pytest.mark.parametrize("name", MODULES)
def test_imports_go_one_way(name: str) -> None:
    for other in imports(MODULES[name]):
        assert not room(name) or other in SHARED or room(other) in MAY_IMPORT[room(name)], f"{name} imports {other}"
        assert name.startswith("requant.cli") or not other.startswith("requant.cli"), "the command line comes last"


def test_no_module_imports_itself_by_way_of_others() -> None:
    edges = {name: sorted(set(imports(path))) for name, path in MODULES.items() if path.name != "__init__.py"}
    done, stack = set[str](), list[str]()

    def visit(name: str) -> None:
        assert name not in stack, " → ".join([*stack[stack.index(name) :], name])
        if name in done or name not in edges:
            return
        stack.append(name)
        for other in edges[name]:
            visit(other)
        done.add(stack.pop())

    for name in edges:
        visit(name)


def test_no_two_classes_have_one_name() -> None:
    names = Counter(node.name for path in FILES for node in ast.walk(tree(path)) if isinstance(node, ast.ClassDef))
    assert [name for name, count in names.items() if count > 1] == []


@pytest.mark.parametrize("name", MODULES)
def test_files_and_functions_are_short(name: str) -> None:
    path = MODULES[name]
    assert len(path.read_text(encoding="utf-8").splitlines()) <= LONGEST_FILE
    functions = [node for node in ast.walk(tree(path)) if isinstance(node, ast.FunctionDef)]
    assert [one.name for one in functions if (one.end_lineno or 0) - one.lineno >= LONGEST_FUNCTION] == []


def test_no_pass_imports_a_constant_of_another_pass() -> None:
    passes = {name: tree(path) for name, path in MODULES.items() if name.startswith("requant.passes.")}
    classes = {
        name
        for name, body in passes.items()
        if any(
            isinstance(node, ast.ClassDef) and "Pass" in " ".join(map(ast.unparse, node.bases)) for node in body.body
        )
    }
    for name, body in passes.items():
        for node in ast.walk(body):
            if isinstance(node, ast.ImportFrom) and f"requant.passes.{node.module}" in classes - {name}:
                assert [alias.name for alias in node.names if alias.name.isupper()] == [], f"{name} from {node.module}"
