"""Data whose scale is known, in the engine's spelling: DequantizeLinear(QuantizeLinear(x)), or the codes alone.

x / s + 128 in uint8 is the same real grid as x / s in int8
"""

from typing import NamedTuple

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from ...ir.constants import constant
from ...runtime.targets import Target
from ..quantizer import Quantizer
from .describe import describe, insert_behind


class Codes(NamedTuple):
    """The codes of a value, their scale and their zero point."""

    codes: ir.Value
    scale: ir.Value
    zero_point: ir.Value


def quantized(graph: ir.Graph, value: ir.Value, planned: Quantizer, engine: Target, free_zero: bool) -> Codes:
    """``value`` through a Q; ``free_zero`` lets one-sided data have a finer grid with a zero point of its own."""
    name, grid = value.name, _grid(planned, engine, free_zero)
    scale, zero_point = (
        constant(graph, part, f"{name}.{what}") for part, what in zip(grid, ("scale", "zero_point"), strict=True)
    )
    limited = _limited(graph, value, planned)
    quantize = ir.node("QuantizeLinear", [limited, scale, zero_point], name=f"{name}.quantize")
    clip = limited.producer() if limited is not value else None
    insert_behind(graph, value, [quantize] if clip is None else [clip, quantize])
    return Codes(describe(quantize.outputs[0], f"{name}.codes", value.shape, zero_point.dtype), scale, zero_point)


def dequantized(graph: ir.Graph, value: ir.Value, coded: Codes) -> ir.Value:
    """What is left of ``value`` behind a DQ."""
    node = ir.node("DequantizeLinear", list(coded), name=f"{value.name}.dequantize")
    insert_behind(graph, coded.codes, [node])
    return describe(node.outputs[0], f"{value.name}.dequantized", value.shape, value.dtype)


def factors(graph: ir.Graph, value: ir.Value, coded: Codes) -> tuple[ir.Value, ...]:
    """What a product of codes reads: the codes of ``value``, their scale and their zero point.

    The scale is the real value of code 1, from a node: ONNX Runtime would fold a constant one into that of the weight,
    and then not know the product for what it is.
    """
    one = constant(graph, np.array(1, np.int8), f"{value.name}.one")
    node = ir.node("DequantizeLinear", [one, coded.scale], name=f"{value.name}.step")
    insert_behind(graph, coded.codes, [node])
    step = describe(node.outputs[0], f"{value.name}.step.out", ir.Shape(()), ir.DataType.FLOAT)
    return coded.codes, step, coded.zero_point


def _grid(planned: Quantizer, engine: Target, free_zero: bool) -> tuple[NDArray[np.float32], NDArray[np.generic]]:
    """Scale and zero point."""
    dtype, zero = engine.activations[planned.dtype]
    scale = planned.scale
    if free_zero and engine.zero_points and planned.interval is not None and planned.bits == 8:
        lowest, highest = float(dtype.min), float(dtype.max)
        low, high = min(planned.interval[0], 0.0), max(planned.interval[1], 0.0)
        scale = np.asarray(max((high - low) / 255, float(np.finfo(np.float32).tiny)), np.float32)
        zero = int(np.clip(np.round(lowest - low / float(scale)), lowest, highest))
    return scale, np.array(zero, dtype.numpy())


def _limited(graph: ir.Graph, value: ir.Value, planned: Quantizer) -> ir.Value:
    """``value`` within the range of fewer than 8 bits, which QuantizeLinear does not saturate to."""
    if planned.bits == 8:
        return value
    half, name = 2 ** (planned.bits - 1), f"{value.name}.clip"
    bounds = [constant(graph, planned.scale * np.float32(bound), name) for bound in (-half, half - 1)]
    clip = ir.node("Clip", [value, *bounds], name=name)
    return describe(clip.outputs[0], f"{name}.out", value.shape, value.dtype)
