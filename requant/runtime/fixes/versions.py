"""A lower version of the file format, for a model that uses nothing of the higher one."""

from collections.abc import Iterator, Sequence

import onnx_ir as ir

from ..rules.qdq_graph import View


def lowered(view: View, nodes: Sequence[ir.Node | None]) -> Iterator[ir.Node | None]:
    """The highest IR version of the engine, where its opset fits: types come with opsets, and nothing else counts."""
    if view.model.opset_imports.get("", 0) <= view.engine.highest_opset:
        view.model.ir_version = view.engine.highest_ir
        yield from nodes
