"""The exact rewrite that gives a channel several copies.

    W' = W[:, order]      b' = b[order]      V' = V[order] / n[order]      ⇒  X' = X[order],  X' V' = X V

where producers compute X by W and b, consumers read it by V, and channel c comes n_c times in ``order``. No weight is
rounded where n_c is a power of two. Weights are repeated and divided when they are read.

Every copy has the range of the old channel, so a quantizer of X gains nothing yet. It gains when X' is transformed by
n[order] afterwards, which gives each copy 1 / n_c of the range and the consumers their old weights.

Sources: QLLM (Liu et al., 2024), section 4.1; outlier channel splitting (Zhao et al., 2019).
"""

from collections.abc import Iterable

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from ..channels.regions import PerChannel, Region
from ..constants import constant, lazily
from .edit import mark_output


def split(region: Region, copies: NDArray[np.intp]) -> NDArray[np.intp]:
    """Give each channel c of ``region`` ``copies[c]`` ≥ 1 copies; the outputs of the graph stay the same.

    It uses ``region`` up: to split further, find its region again. Statistics of its values are not updated.

    Returns:
        The old channel that each new channel is a copy of, [C + k]: first all as they were, then the k new ones.

    Raises:
        ValueError: ``copies`` is not of shape [C], no whole numbers, or not positive.
    """
    order = _order(region, copies)
    if len(order) == region.channels:
        return order
    for weight, axis in {linear.weight: linear.out_axis for linear in region.producers}.items():
        _widen_weight(weight, axis, order, np.ones_like(order))
    for weight, axis in {linear.weight: linear.in_axis for linear in region.consumers}.items():
        _widen_weight(weight, axis, order, copies[order])
    for entry in region.constants:
        _widen_constant(entry, order)
    for value in region.values:
        if value.shape is not None:
            value.shape = _shape(value.shape, region.axis, len(order))
    for linear in region.producers:
        mark_output(linear.node)
    return order


def _order(region: Region, copies: NDArray[np.intp]) -> NDArray[np.intp]:
    if copies.shape != (region.channels,):
        raise ValueError(f"{region.name}: the region has {region.channels} channels, the copies {copies.shape}")
    if not np.issubdtype(copies.dtype, np.integer) or np.any(copies < 1):
        raise ValueError(f"{region.name}: copies must be whole numbers from 1 on")
    channels = np.arange(region.channels)
    return np.concatenate([channels, np.repeat(channels, copies - 1)])


def _widen_weight(weight: ir.Value, axis: int, order: NDArray[np.intp], shares: NDArray[np.intp]) -> None:
    """Repeat what lies along ``axis`` and divide it by ``shares``, in float32 or better, when it is read."""
    tensor = weight.const_value
    assert tensor is not None
    dtype = np.promote_types(tensor.dtype.numpy(), np.float32)
    divisor = np.expand_dims(shares, tuple(range(1, len(tensor.shape) - axis))).astype(dtype)

    shape = _shape(tensor.shape.numpy(), axis, len(order))
    weight.const_value = lazily(
        lambda data: data.take(order, axis).astype(dtype, copy=False) / divisor, tensor, shape=tuple(shape.numpy())
    )
    weight.shape = shape


def _widen_constant(entry: PerChannel, order: NDArray[np.intp]) -> None:
    """Connect a new initializer to the input; other users of the old one keep it."""
    node, position = entry.slot
    value, axis = node.inputs[position], entry.axis
    assert value is not None
    assert value.const_value is not None
    assert isinstance(node.graph, ir.Graph)
    shape = _shape(value.const_value.shape.numpy(), axis, len(order))
    tensor = lazily(lambda data: data.take(order, axis), value.const_value, shape=tuple(shape.numpy()))
    node.replace_input_with(position, constant(node.graph, tensor, f"{value.name}.split"))


def _shape(shape: Iterable[int | ir.SymbolicDim], axis: int, width: int) -> ir.Shape:
    """Return ``shape`` with ``width`` along ``axis``; values may share theirs, so it is not changed in place."""
    dims = list(shape)
    dims[axis] = width
    return ir.Shape(dims)
