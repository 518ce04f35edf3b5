"""Annotations: typed, listed in one table, and never shared by an import from one pass to another."""

import ast
import inspect
from pathlib import Path

import onnx_ir as ir

from requant import passes
from requant.ir.refusal import Refusal
from requant.passes import annotations
from requant.passes.annotations import KEPT, MARGIN, Annotation, layer_records, site_records

FOLDER = Path(inspect.getfile(passes)).parent


def test_an_annotation_of_another_type_is_none() -> None:
    node = ir.node("Relu", [ir.val("x")])
    assert KEPT.get(node) is None
    refusal = Refusal.at(node, "kept by request")
    KEPT.set(node, refusal)
    assert KEPT.get(node) == refusal
    value = node.outputs[0]
    value.meta[MARGIN.key] = "1.5"
    assert MARGIN.get(value) is None


def test_a_model_without_records_has_none() -> None:
    model = ir.Model(ir.Graph([], [], nodes=[]), ir_version=10)
    assert site_records(model) == ()
    assert layer_records(model) == ()


def test_the_table_lists_every_annotation() -> None:
    names = {name for name, value in vars(annotations).items() if isinstance(value, Annotation)}
    keys = {value.key for value in vars(annotations).values() if isinstance(value, Annotation)}
    assert len(keys) == len(names) > 5
    assert all(f"| `{name}`" in (annotations.__doc__ or "") for name in names)


def test_no_module_imports_a_constant_from_a_pass() -> None:
    modules = {inspect.getfile(getattr(passes, name)) for name in passes.__all__}
    stems = {Path(file).stem for file in modules}
    for path in FOLDER.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.level and (node.module or "").split(".")[-1] in stems:
                constants = [alias.name for alias in node.names if alias.name.isupper()]
                assert not constants, f"{path.name} imports {constants} from {node.module}"
