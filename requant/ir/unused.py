"""Removal of what no node reads."""

import onnx_ir as ir
from onnx_ir.passes.common import RemoveUnusedNodesPass


def remove_unused(model: ir.Model) -> None:
    """Remove nodes and initializers without consumers, also from bodies, whose initializers onnx_ir's pass leaves."""
    RemoveUnusedNodesPass()(model)
    for body in model.graph.subgraphs():
        for name, value in tuple(body.initializers.items()):
            if not value.uses() and not value.is_graph_output() and not value.is_graph_input():
                del body.initializers[name]
