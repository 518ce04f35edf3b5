"""Fixes that store a quantized constant in float: (q - z) · s, the numbers that DequantizeLinear computes."""

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from ...ir.constants import constant, is_constant, lazily
from ...ir.traverse import reachable
from ..rules.qdq_graph import QdqGraph
from ..rules.traverse import MOVERS
from .node_quantizer import dequantize, node_quantizer, quantize

Array = NDArray[np.generic]


def to_float(graph: QdqGraph, node: ir.Node) -> bool:
    """Give all consumers of the constant that the Q or DQ ``node`` is part of a float copy of it.

    Weights of products stay quantized.
    """
    ends = [node] if node.op_type == "DequantizeLinear" else [use.node for use in node.outputs[0].uses()]
    successes = [_one_to_float(graph, end) for end in ends]
    return bool(successes) and all(successes)


def in_float(dequantize_node: ir.Node) -> ir.Value | None:
    """Store the output of ``dequantize_node`` as a constant; None unless it reads one, directly or through a Q."""
    integers, output, owner = dequantize_node.inputs[0], dequantize_node.outputs[0], dequantize_node.graph
    producer = integers.producer() if integers is not None else None
    quantize_node = producer if producer is not None and producer.op_type == "QuantizeLinear" else None
    source = quantize_node.inputs[0] if quantize_node is not None else integers
    last, first = node_quantizer(dequantize_node), node_quantizer(quantize_node) if quantize_node is not None else None
    if source is None or not is_constant(source) or last is None or (quantize_node is not None and first is None):
        return None

    def numbers(data: Array) -> Array:
        return dequantize(last, quantize(first, data) if first is not None else data)

    assert source.const_value is not None
    assert isinstance(owner, ir.Graph)
    tensor = lazily(numbers, source.const_value, dtype=output.dtype or ir.DataType.FLOAT)
    return constant(owner, tensor, f"{output.name}.float")


def is_weight(value: ir.Value, graph: QdqGraph) -> bool:
    """Tell whether a product multiplies by ``value``."""

    def moved(current: ir.Value) -> list[ir.Value]:
        return [output for use in current.uses() if use.node.op_type in MOVERS for output in use.node.outputs]

    uses = (use for current in reachable([value], moved) for use in current.uses())
    return any(node in graph.layers and position < 2 for node, position in uses)


def _one_to_float(graph: QdqGraph, node: ir.Node) -> bool:
    output = node.outputs[0]
    if node.op_type != "DequantizeLinear" or output.is_graph_output() or is_weight(output, graph):
        return False
    value = in_float(node)
    if value is not None:
        output.replace_all_uses_with(value)
    return value is not None
