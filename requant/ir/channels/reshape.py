"""Reshape as arithmetic on shapes: how the axes of a channel map are split and merged.

Both shapes are cut into pieces that hold the same number of elements, from both ends. Elements keep their order, so
each piece of the source becomes the matching piece of the target, whatever lies in the other pieces.
"""

from collections.abc import Iterator
from math import prod
from typing import TypeAlias

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

ChannelMap: TypeAlias = NDArray[np.intp]

NO_CHANNEL = -1
"""An element of a channel map whose channel cannot be transformed."""

Dims: TypeAlias = list[int | str]


def dims(shape: ir.Shape) -> Dims:
    """List the dimensions as numbers or names; a nameless one equals nothing but itself."""
    return [dim if isinstance(dim, int) else (dim.value or f"?{id(dim)}") for dim in shape]


def regroup(channels: ChannelMap, source: Dims, target: Dims) -> ChannelMap | None:
    """Return the map after a value of shape ``source`` is read as one of shape ``target``; None when channels mix."""
    source = [size if size > 1 else dim for size, dim in zip(channels.shape, source, strict=True)]
    full, shape = list(channels.shape), list[int]()
    for before, after in _pieces(source, target):
        if all(size == 1 for size in channels.shape[before]):
            shape += [1] * (after.stop - after.start)
            continue
        old_sizes, new_sizes = _solve(source[before], target[after]), _solve(target[after], source[before])
        if old_sizes is None or new_sizes is None or prod(old_sizes) != prod(new_sizes):
            return None
        full[before] = old_sizes
        shape += new_sizes
    return _squeeze(np.broadcast_to(channels, full).reshape(shape))


def _solve(dims: Dims, counterpart: Dims) -> list[int] | None:
    """Return ``dims`` as numbers, one of which may follow from the product, which is that of ``counterpart``."""
    sizes, total = ([dim for dim in part if isinstance(dim, int)] for part in (dims, counterpart))
    if len(sizes) == len(dims):
        return sizes
    if len(sizes) < len(dims) - 1 or len(total) < len(counterpart) or not prod(sizes):
        return None
    return [dim if isinstance(dim, int) else prod(total) // prod(sizes) for dim in dims]


def _pieces(source: Dims, target: Dims) -> Iterator[tuple[slice, slice]]:
    """Yield matching pieces of both shapes in order; the middle between cuts from both ends is one piece."""
    heads = list(_cut(source, target))
    i, j = (heads[-1][0].stop, heads[-1][1].stop) if heads else (0, 0)
    tails = list(_cut(source[i:][::-1], target[j:][::-1]))
    middle = slice(i, len(source) - sum(a.stop - a.start for a, _ in tails))
    target_middle = slice(j, len(target) - sum(b.stop - b.start for _, b in tails))
    yield from heads
    if middle.stop > middle.start or target_middle.stop > target_middle.start:
        yield middle, target_middle
    for a, b in reversed(tails):
        yield slice(len(source) - a.stop, len(source) - a.start), slice(len(target) - b.stop, len(target) - b.start)


def _cut(source: Dims, target: Dims) -> Iterator[tuple[slice, slice]]:
    """Yield the smallest pieces from the left that are certain to hold the same number of elements."""
    i = j = 0
    while i < len(source) and j < len(target):
        if source[i] == target[j]:
            a, b = i + 1, j + 1
        else:
            a, b = _static_piece(source, target, i, j)
            if a == i:
                return
        yield slice(i, a), slice(j, b)
        i, j = a, b


def _static_piece(source: Dims, target: Dims, i: int, j: int) -> tuple[int, int]:
    """Return the ends of the pieces from (i, j) on whose sizes have one product; (i, j) when a name comes before."""
    a, b, size_a, size_b = i, j, 1, 1
    while a == i or b == j or size_a != size_b:
        shorter, at = (source, a) if (size_a <= size_b and a < len(source)) or b == len(target) else (target, b)
        size = shorter[at] if at < len(shorter) else ""
        if not isinstance(size, int) or size == 0:
            return i, j
        if shorter is source:
            a, size_a = a + 1, size_a * size
        else:
            b, size_b = b + 1, size_b * size
    return a, b


def _squeeze(channels: ChannelMap) -> ChannelMap:
    """Give ``channels`` length 1 along each axis on which they do not depend."""
    for axis, size in enumerate(channels.shape):
        one = channels.take([0], axis)
        channels = one if size > 1 and bool(np.all(channels == one)) else channels
    return channels
