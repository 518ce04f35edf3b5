"""Data whose scale is known, in the engine's spelling: DequantizeLinear(QuantizeLinear(x)), or the codes alone.

x / s + 128 in uint8 is the same real grid as x / s in int8
"""

from typing import NamedTuple

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from ...ir.build import describe, insert_behind
from ...ir.constants import constant
from ...ir.quantizer import Quantizer
from ...runtime.targets import Target


class Codes(NamedTuple):
    """The codes of a value, their scale and their zero point."""

    codes: ir.Value
    scale: ir.Value
    zero_point: ir.Value


def quantized(graph: ir.Graph, value: ir.Value, grid: Quantizer, engine: Target) -> Codes:
    """``value`` through a Q of the numbers of ``grid``, whose zero point the engine chooses where it has none."""
    name, zero = value.name, _zero_point(grid, engine)
    scale, zero_point = constant(graph, grid.scale, f"{name}.scale"), constant(graph, zero, f"{name}.zero_point")
    limited = _limited(graph, value, grid)
    quantize = ir.node("QuantizeLinear", [limited, scale, zero_point], name=f"{name}.quantize")
    clip = limited.producer() if limited is not value else None
    insert_behind(graph, value, [quantize] if clip is None else [clip, quantize])
    codes = describe(graph, quantize.outputs[0], f"{name}.codes", value.shape, zero_point.dtype)
    return Codes(codes, scale, zero_point)


def dequantized(graph: ir.Graph, value: ir.Value, coded: Codes) -> ir.Value:
    """What is left of ``value`` behind a DQ."""
    node = ir.node("DequantizeLinear", list(coded), name=f"{value.name}.dequantize")
    insert_behind(graph, coded.codes, [node])
    return describe(graph, node.outputs[0], f"{value.name}.dequantized", value.shape, value.dtype)


def factors(graph: ir.Graph, value: ir.Value, coded: Codes) -> tuple[ir.Value, ...]:
    """What a product of codes reads: the codes of ``value``, their scale and their zero point.

    The scale is the real value of code 1, from a node: ONNX Runtime would fold a constant one into that of the weight,
    and then not know the product for what it is.
    """
    one = constant(graph, np.array(1, np.int8), f"{value.name}.one")
    node = ir.node("DequantizeLinear", [one, coded.scale], name=f"{value.name}.step")
    insert_behind(graph, coded.codes, [node])
    step = describe(graph, node.outputs[0], f"{value.name}.step.out", ir.Shape(()), ir.DataType.FLOAT)
    return coded.codes, step, coded.zero_point


def _zero_point(grid: Quantizer, engine: Target) -> NDArray[np.generic]:
    """In the type of the codes."""
    if grid.zero_point is not None:
        return grid.zero_point.astype(grid.dtype.numpy())
    dtype, zero = engine.activations[grid.dtype]
    return np.array(zero, dtype.numpy())


def _limited(graph: ir.Graph, value: ir.Value, planned: Quantizer) -> ir.Value:
    """``value`` within the range of fewer than 8 bits, which QuantizeLinear does not saturate to."""
    if planned.bits == 8:
        return value
    half, name = 2 ** (planned.bits - 1), f"{value.name}.clip"
    bounds = [constant(graph, planned.scale * np.float32(bound), name) for bound in (-half, half - 1)]
    clip = ir.node("Clip", [value, *bounds], name=name)
    return describe(graph, clip.outputs[0], f"{name}.out", value.shape, value.dtype)
