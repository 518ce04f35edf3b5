"""Reshape as arithmetic on shapes: which axes of a channel map are split and merged.

Both shapes are cut into pieces that hold the same number of elements, from both ends. Elements keep their order, so
each piece of the source becomes the matching piece of the target, whatever lies in the others.
"""

from collections.abc import Iterator
from math import prod
from typing import TypeAlias

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

ChannelMap: TypeAlias = NDArray[np.intp]

NO_CHANNEL = -1
"""In a channel map: an element whose channel nobody can transform."""

Dims: TypeAlias = list[int | str]


def dims(shape: ir.Shape) -> Dims:
    """Dimensions as numbers or names; a nameless one equals nothing but itself."""
    return [dim if isinstance(dim, int) else (dim.value or f"?{id(dim)}") for dim in shape]


def regroup(channels: ChannelMap, source: Dims, target: Dims) -> ChannelMap | None:
    """The map after a value of shape ``source`` is read as one of shape ``target``; None when channels mix."""
    source = [size if size > 1 else dim for size, dim in zip(channels.shape, source, strict=True)]
    full, shape = list(channels.shape), list[int]()
    for before, after in _pieces(source, target):
        if all(size == 1 for size in channels.shape[before]):
            shape += [1] * (after.stop - after.start)
            continue
        sizes, wanted = _solved(source[before], target[after]), _solved(target[after], source[before])
        if sizes is None or wanted is None or prod(sizes) != prod(wanted):
            return None
        full[before] = sizes
        shape += wanted
    return _narrowed(np.broadcast_to(channels, full).reshape(shape))


def _solved(dims: Dims, others: Dims) -> list[int] | None:
    """``dims`` as numbers, one of which may follow from ``others`` having the same product."""
    known, all_of_them = ([dim for dim in part if isinstance(dim, int)] for part in (dims, others))
    if len(known) == len(dims):
        return known
    if len(known) < len(dims) - 1 or len(all_of_them) < len(others) or not prod(known):
        return None
    return [dim if isinstance(dim, int) else prod(all_of_them) // prod(known) for dim in dims]


def _pieces(source: Dims, target: Dims) -> Iterator[tuple[slice, slice]]:
    """Matching pieces of both shapes in order; what cuts from the left and from the right leave is one piece."""
    heads = list(_cut(source, target))
    i, j = (heads[-1][0].stop, heads[-1][1].stop) if heads else (0, 0)
    tails = list(_cut(source[i:][::-1], target[j:][::-1]))
    rest = slice(i, len(source) - sum(a.stop - a.start for a, _ in tails))
    others = slice(j, len(target) - sum(b.stop - b.start for _, b in tails))
    yield from heads
    if rest.stop > rest.start or others.stop > others.start:
        yield rest, others
    for a, b in reversed(tails):
        yield slice(len(source) - a.stop, len(source) - a.start), slice(len(target) - b.stop, len(target) - b.start)


def _cut(source: Dims, target: Dims) -> Iterator[tuple[slice, slice]]:
    """The smallest pieces from the left that are known to hold the same number of elements."""
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
    """Ends of the pieces from (i, j) on whose numbers have one product; (i, j) when a name comes before."""
    a, b, left, right = i, j, 1, 1
    while a == i or b == j or left != right:
        shorter, at = (source, a) if (left <= right and a < len(source)) or b == len(target) else (target, b)
        size = shorter[at] if at < len(shorter) else ""
        if not isinstance(size, int) or size == 0:
            return i, j
        if shorter is source:
            a, left = a + 1, left * size
        else:
            b, right = b + 1, right * size
    return a, b


def _narrowed(channels: ChannelMap) -> ChannelMap:
    """``channels`` with length 1 along each axis that does not matter."""
    for axis, size in enumerate(channels.shape):
        one = channels.take([0], axis)
        channels = one if size > 1 and bool(np.all(channels == one)) else channels
    return channels
