"""A lower version of the file format, for a model that uses nothing of the higher one."""

from collections.abc import Iterator, Sequence

import onnx_ir as ir

from ..rules.qdq_graph import QdqGraph


def lowered(graph: QdqGraph, nodes: Sequence[ir.Node | None]) -> Iterator[ir.Node | None]:
    """Lower the IR version to the engine's highest, where its opset fits: types come with opsets."""
    if graph.opset <= graph.target.highest_opset:
        graph.model.ir_version = graph.target.highest_ir
        yield from nodes
