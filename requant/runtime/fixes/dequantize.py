"""A constant in codes as a constant in float: (q - z) · s, the numbers that DequantizeLinear gives."""

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from ...ir.constants import constant, is_constant, lazily
from ..rules.qdq_graph import View
from ..rules.traverse import MOVERS
from .grid import grid

Array = NDArray[np.generic]


def to_float(view: View, node: ir.Node) -> bool:
    """Let everybody who reads the constant that the Q or DQ ``node`` is part of read it in float.

    Weights of products are left in codes.
    """
    ends = [node] if node.op_type == "DequantizeLinear" else [use.node for use in node.outputs[0].uses()]
    written = [_one_to_float(view, end) for end in ends]
    return bool(written) and all(written)


def in_float(dequantize: ir.Node) -> ir.Value | None:
    """A new constant for what ``dequantize`` gives; None unless it reads a constant, straight or through a Q."""
    codes, out, graph = dequantize.inputs[0], dequantize.outputs[0], dequantize.graph
    producer = codes.producer() if codes is not None else None
    quantize = producer if producer is not None and producer.op_type == "QuantizeLinear" else None
    source = quantize.inputs[0] if quantize is not None else codes
    last, first = grid(dequantize), grid(quantize) if quantize is not None else None
    if source is None or not is_constant(source) or last is None or (quantize is not None and first is None):
        return None

    def numbers(data: Array) -> Array:
        return last.dequantized(first.quantized(data) if first is not None else data)

    assert source.const_value is not None
    assert isinstance(graph, ir.Graph)
    tensor = lazily(numbers, source.const_value, dtype=out.dtype or ir.DataType.FLOAT)
    return constant(graph, tensor, f"{out.name}.float")


def _one_to_float(view: View, dequantize: ir.Node) -> bool:
    out = dequantize.outputs[0]
    if dequantize.op_type != "DequantizeLinear" or out.is_graph_output() or is_weight(out, view):
        return False
    value = in_float(dequantize)
    if value is not None:
        out.replace_all_uses_with(value)
    return value is not None


def is_weight(value: ir.Value, view: View) -> bool:
    """Whether a product multiplies by ``value``."""
    waiting = [value]
    while waiting:
        for node, position in waiting.pop().uses():
            if node in view.layers and position < 2:
                return True
            waiting.extend(node.outputs if node.op_type in MOVERS else ())
    return False
