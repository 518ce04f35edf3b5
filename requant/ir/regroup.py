"""Reshape as arithmetic on shapes: which axes of a channel map are split and merged."""

from math import prod
from typing import TypeAlias

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

ChannelMap: TypeAlias = NDArray[np.intp]
NOBODY = -1
"""In a channel map: an element whose channel nobody can re-base."""

Dims: TypeAlias = list[int | str]


def dims(shape: ir.Shape) -> Dims:
    """Dimensions as numbers or names; a nameless one equals nothing but itself."""
    return [dim if isinstance(dim, int) else (dim.value or f"?{id(dim)}") for dim in shape]


def regroup(channels: ChannelMap, source: Dims, target: Dims) -> ChannelMap | None:
    """The map after a value of shape ``source`` is read as one of shape ``target``; None when channels mix.

    Equal axes are matched from both ends, and what is left must explain itself.
    """
    head = 0
    while head < min(len(source), len(target)) and source[head] == target[head]:
        head += 1
    tail = 0
    while tail < min(len(source), len(target)) - head and source[-1 - tail] == target[-1 - tail]:
        tail += 1
    busy = [axis for axis, size in enumerate(channels.shape) if size > 1]
    if all(axis < head or axis >= len(source) - tail for axis in busy):
        middle = (1,) * (len(target) - head - tail)
        return channels.reshape(channels.shape[:head] + middle + channels.shape[len(source) - tail :])
    if busy[-1] >= len(source) - tail:
        return _regroup_from_right(channels, source, target, busy[0])
    last, rest = len(source) - tail, (1,) * tail
    inner = channels.reshape(channels.shape[:last])
    regrouped = _regroup_from_right(inner, source[:last], target[: len(target) - tail], busy[0])
    return None if regrouped is None else regrouped.reshape(regrouped.shape + rest)


def _regroup_from_right(channels: ChannelMap, source: Dims, target: Dims, first: int) -> ChannelMap | None:
    """The axes from the ``first`` busy one on are static and are split or merged among themselves."""
    inner = [dim for dim in source[first:] if isinstance(dim, int)]
    if len(inner) < len(source) - first:
        return None
    for start in range(len(target)):
        shape = [dim for dim in target[start:] if isinstance(dim, int)]
        if len(shape) == len(target) - start and prod(shape) == prod(inner):
            full = np.broadcast_to(channels, (*channels.shape[:first], *inner))
            return _narrowed(full.reshape((1,) * start + tuple(shape)))
    return None


def _narrowed(channels: ChannelMap) -> ChannelMap:
    """``channels`` with length 1 along each axis that does not matter."""
    for axis, size in enumerate(channels.shape):
        one = channels.take([0], axis)
        channels = one if size > 1 and bool(np.all(channels == one)) else channels
    return channels
