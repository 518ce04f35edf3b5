"""Weights as codes: W ≈ DequantizeLinear(Q, s, z)."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from ...ir.build import describe
from ...ir.constants import array, constant, lazily
from ...ir.formats import Format
from ...ir.linear import Linear
from ...ir.quantizer import Quantizer
from ...runtime.targets import Target
from ..scales import weight_quantizer

MOST_COUNTED = 2.0**30
"""How many steps a bias in int32 may have: half of what fits, since the product is added to it."""


def suited(linear: Linear, planned: Quantizer, engine: Target) -> Quantizer:
    """The plan of the weight, in as few bits as the engine's kernel takes without saturating."""
    if planned.dtype == ir.DataType.INT8 and planned.bits > engine.weight_bits:
        return weight_quantizer(linear, Format(bits=engine.weight_bits))
    return planned


def finest_scales(linear: Linear, step: float) -> NDArray[np.float64]:
    """The finest scales of the weight with which int32 can count the bias; ``step`` is the scale of the data.

    ONNX Runtime codes a float bias by itself, and saturates without a word.
    """
    bias = array(linear.bias[0].inputs[linear.bias[1]]) if linear.bias is not None else None
    return np.zeros(1) if bias is None else np.abs(bias.astype(np.float64)).reshape(-1) / (step * MOST_COUNTED)


def countable(planned: Quantizer, finest: NDArray[np.float64]) -> Quantizer:
    """The plan of the weight with no scale below ``finest``: of such a channel next to nothing is left but its bias."""
    if np.all(planned.scale >= finest):
        return planned
    scale = np.maximum(planned.scale, finest).astype(np.float32)
    codes = planned.codes
    if codes is not None:
        ratio = planned.spread(planned.scale / scale, codes.shape)
        codes = np.round(codes.astype(np.float32) * ratio).astype(codes.dtype)
    return replace(planned, scale=scale, codes=codes)


def weight_codes(graph: ir.Graph, linear: Linear, planned: Quantizer) -> tuple[ir.Value, ...]:
    """The codes as a matrix [K, N] of their own, and the scale [N]."""
    turned = linear.in_axis != 0
    codes = _codes(graph, linear, planned, np.transpose if turned else np.asarray, linear.shape[:: -1 if turned else 1])
    return codes, constant(graph, planned.scale, f"{linear.weight.name}.scale")


def dequantized_weight(graph: ir.Graph, linear: Linear, planned: Quantizer) -> ir.Value:
    """The weight behind a DequantizeLinear, for the layers to read."""
    value, name = linear.weight, linear.weight.name
    zero = np.zeros(planned.scale.shape, np.float32) if planned.zero_point is None else planned.zero_point
    codes = _codes(graph, linear, planned, np.asarray, linear.shape)
    scale = constant(graph, planned.scale, f"{name}.scale")
    zero_point = constant(
        graph, ir.Tensor(zero.astype(planned.dtype.numpy()), dtype=planned.dtype), f"{name}.zero_point"
    )
    attributes = {"axis": planned.axis, "block_size": planned.block} if planned.block else {"axis": planned.axis}
    node = ir.node("DequantizeLinear", [codes, scale, zero_point], attributes, name=f"{name}.dequantize")
    graph.insert_before(linear.node, node)
    return describe(graph, node.outputs[0], f"{name}.dequantized", value.shape, value.dtype)


def _codes(
    graph: ir.Graph,
    linear: Linear,
    planned: Quantizer,
    turn: Callable[[NDArray[np.generic]], NDArray[np.generic]],
    shape: tuple[int, ...],
) -> ir.Value:
    """The codes as an initializer; nearest ones are computed when they are read."""
    tensor, name = linear.weight.const_value, f"{linear.weight.name}.codes"
    assert tensor is not None
    if planned.codes is not None:
        return constant(graph, ir.Tensor(np.ascontiguousarray(turn(planned.codes)), dtype=planned.dtype), name)
    encoded = lazily(lambda weight: turn(planned.encode(weight)), tensor, dtype=planned.dtype, shape=shape)
    return constant(graph, encoded, name)
