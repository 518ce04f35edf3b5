"""Scales: how far apart the numbers of a quantizer are.

activation     s = the least that covers the range
weight         s_o = max|w_o| / largest level                       for each output channel (of each matrix)
in blocks      s = argmin Σ h_k (w_k - ŵ_k)²     for each block     h_k: mean square of what row k is multiplied by
"""

import numpy as np
from numpy.typing import NDArray

from ..calib.collect import statistics
from ..calib.ranges import Interval, symmetric_scale
from ..ir.formats import Format
from ..ir.linear import Linear
from ..ir.quantizer import E4M3_LARGEST, Quantizer, code_range, largest_code

HEADROOM = 2.0
"""The factor by which float8 activations reach beyond calibration: their precision does not suffer from it."""

_TINY = float(np.finfo(np.float32).tiny)
_NOTHING = 2.0**-60
"""The share of the largest scale below which a channel, one that pruning has left, is as good as 0."""

_SHRINK = np.linspace(1.0, 0.7, 13, dtype=np.float32)
"""Shares of a block's range to try: with 4 bits a finer step may be worth a clipped weight."""


def activation_quantizer(interval: Interval, fmt: Format) -> Quantizer:
    """Return a quantizer with one scale for data that cover ``interval``."""
    low, high = interval
    assert fmt.activations is not None
    if fmt.activations.is_floating_point():
        scale = max(abs(low), abs(high), _TINY) * HEADROOM / E4M3_LARGEST
    else:
        scale = symmetric_scale(low, high, fmt.bits)
    return Quantizer(np.asarray(scale, np.float32), None, fmt.activations, fmt.bits, interval=interval)


def weight_quantizer(linear: Linear, fmt: Format) -> Quantizer:
    """Return a quantizer of the weight of ``linear``: per output channel of each matrix, or per block of its rows."""
    tensor = linear.weight.const_value
    assert tensor is not None
    data = tensor.numpy().astype(np.float32, copy=False)
    if fmt.block:
        return _blocked(linear, data, fmt)
    other_axes = tuple(axis for axis in range(data.ndim) if axis != linear.out_axis)
    within = (linear.in_axis,) if linear.batched else other_axes
    scale = channel_scales(data, within, fmt, keepdims=linear.batched)
    return Quantizer(scale, linear.out_axis, fmt.weights, fmt.bits)


def channel_scales(
    data: NDArray[np.float32], within: tuple[int, ...], fmt: Format, *, keepdims: bool = False
) -> NDArray[np.float32]:
    """Return the least scales with which the weights of ``fmt`` reach the largest magnitude ``within`` these axes."""
    top, largest = np.float32(largest_code(fmt.weights, fmt.bits)), np.abs(data).max(within, keepdims=keepdims)
    scale = np.where(largest > 0, largest, top) / top
    floor = max(float(scale.max(initial=0.0)) * _NOTHING, _TINY)
    return np.maximum(scale, floor).astype(np.float32)


def _blocked(linear: Linear, data: NDArray[np.float32], fmt: Format) -> Quantizer:
    stats = statistics(linear.data)
    importance = np.ones(linear.inputs) if stats is None else stats.variance + stats.mean**2
    rows = data if linear.in_axis == 0 else data.T
    scale, zero_point = block_scales(rows, importance.astype(np.float32), fmt)
    if linear.in_axis != 0:
        scale, zero_point = scale.T, None if zero_point is None else zero_point.T
    return Quantizer(scale, linear.in_axis, fmt.weights, fmt.bits, fmt.block, zero_point)


def block_scales(
    rows: NDArray[np.float32], importance: NDArray[np.float32], fmt: Format
) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
    """Return scale and zero point (None where symmetric) of each block of ``rows`` [K, N]: both [⌈K / block⌉, N].

    ``importance`` [K] is the weight of each row's squared error.
    """
    blocks, counts = in_blocks(rows, fmt.block), in_blocks(importance[:, None], fmt.block)
    low, high = code_range(fmt.weights, fmt.bits)
    floor, ceiling = np.minimum(blocks.min(axis=1), 0), np.maximum(blocks.max(axis=1), 0)
    ceiling = np.where((floor == 0) & (ceiling == 0), high, ceiling)  # a block of zeros: any scale will do
    best = np.full(floor.shape, np.inf, np.float32)
    scale, zero_point = np.ones_like(floor), np.zeros_like(floor)
    for shrink in _SHRINK:
        if fmt.weights.is_signed():
            step = np.maximum(np.maximum(ceiling / high, -floor / -low) * shrink, _TINY)
            zero = np.zeros_like(step)
        else:
            step = np.maximum((ceiling - floor) * shrink / high, _TINY)
            zero = np.clip(np.round(-floor * shrink / step), low, high)
        integers = np.clip(np.round(blocks / step[:, None]) + zero[:, None], low, high)
        error = (np.square((integers - zero[:, None]) * step[:, None] - blocks) * counts).sum(axis=1)
        improves = error < best
        best, scale = np.where(improves, error, best), np.where(improves, step, scale)
        zero_point = np.where(improves, zero, zero_point)
    return scale.astype(np.float32), None if fmt.weights.is_signed() else zero_point.astype(np.float32)


def in_blocks(rows: NDArray[np.float32], block: int) -> NDArray[np.float32]:
    """Return ``rows`` [K, N] as [⌈K / block⌉, block, N], with zeros where the last block ends before it is full."""
    missing = -len(rows) % block
    full = np.concatenate([rows, np.zeros((missing, rows.shape[1]), rows.dtype)]) if missing else rows
    return full.reshape(-1, block, rows.shape[1])
