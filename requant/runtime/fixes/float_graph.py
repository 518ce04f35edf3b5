"""A Q/DQ graph without its quantizers: x instead of DequantizeLinear(QuantizeLinear(x)), constants in float."""

import onnx_ir as ir
from onnx_ir.convenience import replace_nodes_and_values
from onnx_ir.passes.common import RemoveUnusedNodesPass

from ...ir.ops import is_op
from ..rules.qdq_graph import EngineFacts, QdqGraph, qdq_graph, scan
from .dequantize import in_float
from .float_products import multiply_floats


def float_graph(model: ir.Model, target: EngineFacts) -> ir.Model:
    """Return a copy of ``model`` that computes in float; weights have the values of their integers.

    Functions are inlined. Products of integers become products of floats where they are written as here. Where a
    DequantizeLinear reads integers that were moved, or of another tool's operator, it stays. ``model`` is not modified.

    Raises:
        SourceError: as `requant.check`.
    """
    copy = qdq_graph(model, target).model
    for product in [node for node in copy.graph.all_nodes() if is_op(node, frozenset({"MatMulInteger"}))]:
        multiply_floats(product)
    graph = scan(copy, target)
    for node, qdq in graph.nodes.items():
        value = None if qdq.quantizes else _float_value(graph, node)
        if value is not None:
            _replace(node, value)
    RemoveUnusedNodesPass()(copy)
    return copy


def _float_value(graph: QdqGraph, dequantize: ir.Node) -> ir.Value | None:
    """Return the constant that ``dequantize`` computes, or else the value whose quantized form it reads."""
    constant, quantize = in_float(dequantize), graph.producer(dequantize.inputs[0])
    return quantize.node.inputs[0] if constant is None and quantize is not None and quantize.quantizes else constant


def _replace(dequantize: ir.Node, value: ir.Value) -> None:
    """Give all consumers of ``dequantize``, the graph's outputs included, ``value`` in its type."""
    output, owner = dequantize.outputs[0], dequantize.graph
    assert isinstance(owner, ir.Graph)
    if output.dtype is None or value.dtype is None or value.dtype == output.dtype:
        node = ir.node("Identity", [value])
    else:
        node = ir.node("Cast", [value], {"to": output.dtype})
    replace_nodes_and_values(owner, dequantize, [dequantize], [node], dequantize.outputs, node.outputs)
