"""Quantized activations as the engine takes them: DequantizeLinear(QuantizeLinear(x)), or the integers alone.

x / s + 128 in uint8 has the same real values as x / s in int8
q, s, z = DynamicQuantizeLinear(x)        where the scale is computed at run time
"""

from typing import NamedTuple

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from ...ir.build import describe, insert_behind
from ...ir.constants import constant
from ...ir.quantizer import Quantizer
from ...runtime.targets import Target


class QuantizedValue(NamedTuple):
    """The integers of a value, their scale and their zero point."""

    integers: ir.Value
    scale: ir.Value
    zero_point: ir.Value


def quantize(graph: ir.Graph, value: ir.Value, quantizer: Quantizer, engine: Target) -> QuantizedValue:
    """Quantize ``value`` by a QuantizeLinear; the engine chooses the zero point where the ``quantizer`` has none."""
    name, zero = value.name, _zero_point(quantizer, engine)
    scale, zero_point = constant(graph, quantizer.scale, f"{name}.scale"), constant(graph, zero, f"{name}.zero_point")
    clipped = _clipped(graph, value, quantizer)
    node = ir.node("QuantizeLinear", [clipped, scale, zero_point], name=f"{name}.quantize")
    clip = clipped.producer() if clipped is not value else None
    insert_behind(graph, value, [node] if clip is None else [clip, node])
    integers = describe(graph, node.outputs[0], f"{name}.codes", value.shape, zero_point.dtype)
    return QuantizedValue(integers, scale, zero_point)


def quantize_dynamically(graph: ir.Graph, value: ir.Value) -> QuantizedValue:
    """Quantize ``value`` by a DynamicQuantizeLinear, which computes its scale at run time."""
    node = ir.node("DynamicQuantizeLinear", [value], num_outputs=3, name=f"{value.name}.quantize")
    integers, scale, zero_point = node.outputs
    describe(graph, integers, f"{value.name}.dynamic.codes", value.shape, ir.DataType.UINT8)
    describe(graph, scale, f"{value.name}.dynamic.scale", ir.Shape(()), ir.DataType.FLOAT)
    describe(graph, zero_point, f"{value.name}.dynamic.zero_point", ir.Shape(()), ir.DataType.UINT8)
    insert_behind(graph, value, [node])
    return QuantizedValue(integers, scale, zero_point)


def dequantize(graph: ir.Graph, value: ir.Value, operand: QuantizedValue) -> ir.Value:
    """Dequantize ``operand``, the integers of ``value``, by a DequantizeLinear."""
    node = ir.node("DequantizeLinear", list(operand), name=f"{value.name}.dequantize")
    insert_behind(graph, operand.integers, [node])
    return describe(graph, node.outputs[0], f"{value.name}.dequantized", value.shape, value.dtype)


def with_computed_scale(graph: ir.Graph, value: ir.Value, operand: QuantizedValue) -> QuantizedValue:
    """Return ``operand`` as an integer product takes it, with a scale that a node computes.

    The scale is the real value of the integer 1: ONNX Runtime would fold a constant one into that of the weight, and
    then not match the pattern of the product.
    """
    one = constant(graph, np.array(1, np.int8), f"{value.name}.one")
    node = ir.node("DequantizeLinear", [one, operand.scale], name=f"{value.name}.step")
    insert_behind(graph, operand.integers, [node])
    scale = describe(graph, node.outputs[0], f"{value.name}.step.out", ir.Shape(()), ir.DataType.FLOAT)
    return operand._replace(scale=scale)


def _zero_point(quantizer: Quantizer, engine: Target) -> NDArray[np.generic]:
    """Return the zero point in the type of the integers."""
    if quantizer.zero_point is not None:
        return quantizer.zero_point.astype(quantizer.dtype.numpy())
    dtype, zero = engine.activations[quantizer.dtype]
    return np.array(zero, dtype.numpy())


def _clipped(graph: ir.Graph, value: ir.Value, quantizer: Quantizer) -> ir.Value:
    """Clip ``value`` to the range of fewer than 8 bits, to which QuantizeLinear does not saturate."""
    if quantizer.bits == 8:
        return value
    half, name = 2 ** (quantizer.bits - 1), f"{value.name}.clip"
    bounds = [constant(graph, quantizer.scale * np.float32(bound), name) for bound in (-half, half - 1)]
    clip = ir.node("Clip", [value, *bounds], name=name)
    return describe(graph, clip.outputs[0], f"{name}.out", value.shape, value.dtype)
