"""Quantized weights: W ≈ DequantizeLinear(Q, s, z)."""

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

MOST_BIAS_STEPS = 2.0**30
"""The most steps of a bias in int32: half of what fits, since the product is added to it."""


def fit_bits(linear: Linear, plan: Quantizer, engine: Target) -> Quantizer:
    """Return the quantizer of the weight, with as few bits as the engine's kernel takes without saturating."""
    if plan.dtype == ir.DataType.INT8 and plan.bits > engine.weight_bits:
        return weight_quantizer(linear, Format(bits=engine.weight_bits))
    return plan


def bias_limit(linear: Linear, step: float) -> NDArray[np.float64]:
    """Return the least scales of the weight for which int32 holds the bias; ``step`` is the scale of the data.

    ONNX Runtime quantizes a float bias by itself, and saturates without a word.
    """
    bias = array(linear.bias[0].inputs[linear.bias[1]]) if linear.bias is not None else None
    return np.zeros(1) if bias is None else np.abs(bias.astype(np.float64)).reshape(-1) / (step * MOST_BIAS_STEPS)


def limit_scales(plan: Quantizer, least: NDArray[np.float64]) -> Quantizer:
    """Return the quantizer with no scale below ``least``: of such a channel next to nothing remains but its bias."""
    if np.all(plan.scale >= least):
        return plan
    scale = np.maximum(plan.scale, least).astype(np.float32)
    integers = plan.codes
    if integers is not None:
        ratio = plan.spread(plan.scale / scale, integers.shape)
        integers = np.round(integers.astype(np.float32) * ratio).astype(integers.dtype)
    return replace(plan, scale=scale, codes=integers)


def integer_weight(graph: ir.Graph, linear: Linear, plan: Quantizer) -> tuple[ir.Value, ...]:
    """Return the integers of the weight as a matrix [K, N] of their own, or a batch of them, and the scale."""
    transposed = linear.in_axis > linear.out_axis
    turn, shape = (np.transpose, linear.shape[::-1]) if transposed else (np.asarray, linear.shape)
    integers = _integers(graph, linear, plan, turn, shape)
    return integers, constant(graph, plan.scale, f"{linear.weight.name}.scale")


def dequantized_weight(graph: ir.Graph, linear: Linear, plan: Quantizer) -> ir.Value:
    """Return the weight behind a DequantizeLinear, for the layers to read.

    That takes scales along one axis alone: a batch of matrices has one, `common_scale`, and its product a factor.
    """
    value, name = linear.weight, linear.weight.name
    integers = _integers(graph, linear, plan, np.asarray, linear.shape)
    if linear.batched:
        plan = replace(plan, scale=common_scale(plan), axis=None)
    zero = np.zeros(plan.scale.shape, np.float32) if plan.zero_point is None else plan.zero_point
    scale = constant(graph, plan.scale, f"{name}.scale")
    zero_point = constant(graph, ir.Tensor(zero.astype(plan.dtype.numpy()), dtype=plan.dtype), f"{name}.zero_point")
    fields = {"axis": plan.axis, "block_size": plan.block or None}
    attributes = {name: value for name, value in fields.items() if value is not None}
    node = ir.node("DequantizeLinear", [integers, scale, zero_point], attributes, name=f"{name}.dequantize")
    graph.insert_before(linear.node, node)
    return describe(graph, node.outputs[0], f"{name}.dequantized", value.shape, value.dtype)


def common_scale(plan: Quantizer) -> NDArray[np.float32]:
    """Return one scale for all matrices of a batch, in the middle of theirs: halves then hold product and factor."""
    return np.asarray(np.exp(np.log(plan.scale.astype(np.float64)).mean()), np.float32)


def _integers(
    graph: ir.Graph,
    linear: Linear,
    plan: Quantizer,
    turn: Callable[[NDArray[np.generic]], NDArray[np.generic]],
    shape: tuple[int, ...],
) -> ir.Value:
    """Return the integers as an initializer; those that are rounded to nearest are computed when it is read."""
    tensor, name = linear.weight.const_value, f"{linear.weight.name}.codes"
    assert tensor is not None
    if plan.codes is not None:
        return constant(graph, ir.Tensor(np.ascontiguousarray(turn(plan.codes)), dtype=plan.dtype), name)
    encoded = lazily(lambda weight: turn(plan.encode(weight)), tensor, dtype=plan.dtype, shape=shape)
    return constant(graph, encoded, name)
