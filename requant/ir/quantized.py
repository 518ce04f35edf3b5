"""Parts of a model that another tool has quantized: its layers, and the quantizers of its values.

Q → DQ → Transpose → MatMul         the MatMul reads integers times a scale, and the same quantizer loses nothing more
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from .constants import array, is_constant
from .ops import COMMUTING, DYNAMIC_QUANTIZERS, INTEGER_PRODUCTS, JOINING, LINEAR, QUANTIZERS, is_op
from .order import label
from .quantizer import Quantizer
from .refusal import Refusal
from .traverse import producer

COMPRESSED_LAYERS = frozenset(
    {
        "GemmFloat8", "MatMulBlockQuantizedFp4Weight", "MatMulBlockQuantizedFp8Weight", "MatMulBnb4", "MatMulFpQ4",
        "MatMulNBits", "MatMulNBitsQLoRA", "QMoE",
    }
)  # fmt: skip
"""Products of float data by a compressed weight, in ONNX Runtime's own domain."""

_QUANTIZED_LAYERS = frozenset(
    {"DynamicQuantizeLSTM", "DynamicQuantizeMatMul", "MatMulIntegerToFloat", "QAttention", "QGemm"}
)
"""Layers of quantized data in ONNX Runtime's own domain."""

_PRODUCTS = INTEGER_PRODUCTS | COMPRESSED_LAYERS | _QUANTIZED_LAYERS | {"QLinearConv", "QLinearMatMul"}
"""Ops with a quantized weight."""

_QUANTIZED = (QUANTIZERS - {"DequantizeLinear"}) | DYNAMIC_QUANTIZERS | INTEGER_PRODUCTS | _QUANTIZED_LAYERS
"""Ops of quantized data, but for those whose names begin with "QLinear"."""

_WEIGHT_POSITION = {"QLinearConv": 3, "QLinearMatMul": 3, "QMoE": 2}
"""The input that is the weight, where it is not the second."""

_SAME_GRID = (COMMUTING - JOINING) | {"Relu"}
"""Ops whose output has no numbers that their quantized input cannot have, if that may be 0."""

_BYTES = {ir.DataType.INT8: 0, ir.DataType.UINT8: 128}
"""The zero point of each type that stands for 0 in the middle of the range."""


@dataclass(frozen=True)
class QuantizedLayer:
    """A layer that is quantized in the file: its node, and the shape of its weight as far as it is known."""

    node: ir.Node
    shape: tuple[int, ...]


def holds_quantized_data(node: ir.Node) -> bool:
    """Tell whether ``node`` takes or makes quantized data; a DequantizeLinear alone may be of a compressed weight."""
    return node.op_type in _QUANTIZED or node.op_type.startswith("QLinear")


def is_quantizer(node: ir.Node) -> bool:
    """Tell whether ``node`` is a quantizer of the file, which is not folded into a constant."""
    return is_op(node, QUANTIZERS)


def is_partly_quantized(model: ir.Model) -> bool:
    """Tell whether ``model`` has quantizers: engines compute other numbers than such a graph says when they fuse it."""
    return any(is_quantizer(node) or holds_quantized_data(node) for node in model.graph.all_nodes())


def find_quantized_layers(model: ir.Model) -> Iterator[QuantizedLayer]:
    """Yield the layers that are quantized in the file, in graph order."""
    for node in model.graph.all_nodes():
        if node.op_type in _PRODUCTS:
            yield QuantizedLayer(node, _shape(node.inputs[_WEIGHT_POSITION.get(node.op_type, 1)]))
        elif is_op(node, LINEAR) and len(node.inputs) > 1 and (weight := _stored_weight(node.inputs[1])) is not None:
            yield QuantizedLayer(node, _shape(weight))


def stored_quantizer(value: ir.Value) -> Quantizer | Refusal | None:
    """Return the quantizer that ``value`` has in the file, in int8; None where the value is not quantized there.

    It is that of a DequantizeLinear which makes the value, or of a QuantizeLinear which reads it for another layer.
    Refuses one that is not to 8-bit integers with one scale for all.
    """
    node = producer(value, _SAME_GRID)
    if node is None or not _is_dequantizer(node) or is_constant(node.inputs[0]):
        node = next((use.node for use in value.uses() if _is_quantizer_of(use.node, use.idx)), None)
    if node is None:
        return None
    dtype, scale = integer_type(node), array(node.inputs[1])
    zero = array(node.inputs[2]) if len(node.inputs) > 2 and node.inputs[2] is not None else np.zeros(1)
    if dtype == ir.DataType.INT32:  # a sum of products
        return None
    if dtype not in _BYTES or scale is None or scale.size > 1 or zero is None:
        kind = "unknown" if dtype is None else dtype.name.lower()
        return Refusal.at(
            node, f"its input is quantized already, in {kind} by {label(node)!r}, not 8 bits with one scale"
        )
    zero_point = np.float32(float(zero.reshape(-1)[0]) - _BYTES[dtype])
    return Quantizer(scale.astype(np.float32).reshape(()), zero_point=np.asarray(zero_point) if zero_point else None)


def stored_nodes(value: ir.Value) -> list[ir.Node]:
    """Return the quantizers of the file that a layer may read in place of ``value``: a Q of it, and the DQ behind.

    There is the DQ alone where that makes the value, and the Q alone where what reads it takes integers. Their scale is
    a number.
    """
    nodes = [node] if (node := value.producer()) is not None and _is_dequantizer(node) else []
    if not nodes:
        nodes = [use.node for use in value.uses() if _is_quantizer_of(use.node, use.idx)][:1]
        nodes += [reader for node in nodes for reader in node.successors() if _is_dequantizer(reader)][:1]
    scales = [array(node.inputs[1]) for node in nodes]
    has_numbers = all(scale is not None and scale.ndim == 0 for scale in scales)
    return nodes if has_numbers and isinstance(stored_quantizer(value), Quantizer) else []


def integer_type(node: ir.Node) -> ir.DataType | None:
    """Return the type of the integers that a DQ reads or a Q makes, which inference may not know."""
    zero_point = node.inputs[2] if len(node.inputs) > 2 else None
    values = (zero_point, node.inputs[0] if _is_dequantizer(node) else node.outputs[0])
    return next((value.dtype for value in values if value is not None and value.dtype is not None), None)


def _is_dequantizer(node: ir.Node) -> bool:
    return is_quantizer(node) and node.op_type == "DequantizeLinear"


def _is_quantizer_of(node: ir.Node, position: int) -> bool:
    return is_quantizer(node) and node.op_type == "QuantizeLinear" and position == 0


def _stored_weight(value: ir.Value | None) -> ir.Value | None:
    """Return the integers of a weight behind a DequantizeLinear, or None."""
    node = producer(value, COMMUTING)
    integers = node.inputs[0] if node is not None and _is_dequantizer(node) else None
    return integers if is_constant(integers) else None


def _shape(value: ir.Value | None) -> tuple[int, ...]:
    return tuple(value.const_value.shape.numpy()) if value is not None and value.const_value is not None else ()
