"""Data whose scale is known: DequantizeLinear(QuantizeLinear(x)), in the engine's spelling.

x / s + 128 in uint8 is the same real grid as x / s in int8
"""

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from ...ir.constants import constant
from ...runtime.targets import Target
from ..quantizer import Quantizer
from .describe import describe


def dequantized_data(
    graph: ir.Graph, value: ir.Value, planned: Quantizer, engine: Target, free_zero: bool
) -> tuple[ir.Value, ...]:
    """``value`` through a Q/DQ pair; ``free_zero`` lets one-sided data have a finer grid with a zero point of its own.

    Returns what the readers are to read, and the scale.
    """
    name, grid = value.name, _grid(planned, engine, free_zero)
    scale = constant(graph, grid[0], f"{name}.scale")
    zero_point = constant(graph, grid[1], f"{name}.zero_point")
    limited = _limited(graph, value, planned)
    codes = ir.node("QuantizeLinear", [limited, scale, zero_point], name=f"{name}.quantize")
    result = ir.node("DequantizeLinear", [codes.outputs[0], scale, zero_point], name=f"{name}.dequantize")
    describe(codes.outputs[0], f"{name}.codes", value.shape, zero_point.dtype)
    describe(result.outputs[0], f"{name}.dequantized", value.shape, value.dtype)
    producer, clip = value.producer(), limited.producer()
    steps = [codes, result] if limited is value or clip is None else [clip, codes, result]
    if producer is not None:
        graph.insert_after(producer, steps)
    else:
        graph.insert_before(graph[0], steps)
    return result.outputs[0], scale


def _grid(planned: Quantizer, engine: Target, free_zero: bool) -> tuple[NDArray[np.float32], NDArray[np.generic]]:
    """Scale and zero point."""
    dtype, zero = engine.activations[planned.dtype]
    scale = planned.scale
    if free_zero and engine.zero_points and planned.interval is not None and planned.bits == 8:
        dtype = ir.DataType.UINT8
        low, high = min(planned.interval[0], 0.0), max(planned.interval[1], 0.0)
        scale = np.asarray(max((high - low) / 255, float(np.finfo(np.float32).tiny)), np.float32)
        zero = int(np.clip(np.round(-low / float(scale)), 0, 255))
    return scale, np.array(zero, dtype.numpy())


def _limited(graph: ir.Graph, value: ir.Value, planned: Quantizer) -> ir.Value:
    """``value`` within the range of fewer than 8 bits, which QuantizeLinear does not saturate to."""
    if planned.bits == 8:
        return value
    half, name = 2 ** (planned.bits - 1), f"{value.name}.clip"
    bounds = [constant(graph, planned.scale * np.float32(bound), name) for bound in (-half, half - 1)]
    clip = ir.node("Clip", [value, *bounds], name=name)
    return describe(clip.outputs[0], f"{name}.out", value.shape, value.dtype)
