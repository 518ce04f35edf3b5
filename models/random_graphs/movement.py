"""Blocks over [batch, tokens, width] that move elements: heads, windows, shifts, halves, copies and padding."""

import numpy as np

from .draft import Draft, Stream
from .sequence import activation, linear

END = 2**40
"""A bound of Slice that lies past every end."""


def move(g: Draft, x: Stream) -> Stream:
    """Ops that move elements; the number of tokens or channels may change."""
    return g.pick((_heads, _swap, _turn, _shuffle, _roll, _windows, _twice, _half, _tile, _pad, _merge, _stranger))(
        g, x
    )


def _heads(g: Draft, x: Stream) -> Stream:
    """To heads, and back as they are or with the channels of heads in turn."""
    heads = g.transpose(g.reshape(x.name, -1, x.tokens, 2, x.width // 2), 0, 2, 1, 3)
    back = g.transpose(heads, *g.pick(((0, 2, 1, 3), (0, 2, 3, 1))))
    return x._replace(name=g.reshape(back, -1, x.tokens, x.width))


def _swap(g: Draft, x: Stream) -> Stream:
    first, second = g.split(x.name, 2, 2, x.width // 2)
    return x._replace(name=g.op("Concat", second, first, axis=g.pick((2, -1))))


def _turn(g: Draft, x: Stream) -> Stream:
    return x._replace(name=g.slice(x.name, 2, -1, -(END), -1))


def _shuffle(g: Draft, x: Stream) -> Stream:
    order = g.rng.permutation(x.width) if g.chance(0.7) else g.rng.integers(-x.width, x.width, x.width)
    return x._replace(name=g.op("Gather", x.name, g.constant(order), axis=2))


def _roll(g: Draft, x: Stream) -> Stream:
    parts = g.slice(x.name, 1, 1, END), g.slice(x.name, 1, 0, 1)
    return x._replace(name=g.op("Concat", *parts, axis=1))


def _windows(g: Draft, x: Stream) -> Stream:
    """Windows of two tokens become samples; a linear or an activation inside; and back."""
    across = x.tokens // 2
    if x.tokens % 2:
        return _roll(g, x)
    grid = g.transpose(g.reshape(x.name, -1, across, 2, x.width), 0, 2, 1, 3)
    inside = Stream(g.reshape(grid, -1, across, x.width), across, x.width)
    inside = linear(g, inside, x.width) if g.chance(0.5) else inside._replace(name=activation(g, inside.name, x.width))
    grid = g.transpose(g.reshape(inside.name, -1, 2, across, x.width), 0, 2, 1, 3)
    return x._replace(name=g.reshape(grid, -1, x.tokens, x.width))


def _twice(g: Draft, x: Stream) -> Stream:
    if x.width > 4:
        return _half(g, x)
    return Stream(g.op("Concat", x.name, x.name, axis=2), x.tokens, 2 * x.width)


def _half(g: Draft, x: Stream) -> Stream:
    if x.width != 8:
        return _swap(g, x)
    return Stream(g.pick(g.split(x.name, 2, 2, 4)), x.tokens, 4)


def _tile(g: Draft, x: Stream) -> Stream:
    if x.tokens > 4:
        return _roll(g, x)
    repeated = g.op("Tile", x.name, g.constant([1, 2, 1])) if g.chance(0.5) else g.op("Concat", x.name, x.name, axis=1)
    return Stream(repeated, 2 * x.tokens, x.width)


def _pad(g: Draft, x: Stream) -> Stream:
    if x.tokens > 6:
        return _roll(g, x)
    pads, mode = g.constant([0, 1, 0, 0, 1, 0]), g.pick(("constant", "constant", "reflect", "edge"))
    return Stream(g.op("Pad", x.name, pads, mode=mode), x.tokens + 2, x.width)


def _merge(g: Draft, x: Stream) -> Stream:
    """Patch merging: neighbours side by side."""
    if x.tokens % 2 or x.tokens < 4 or x.width > 4:
        return _roll(g, x)
    parts = [g.slice(x.name, 1, start, END, 2) for start in (0, 1)]
    return Stream(g.op("Concat", *parts, axis=2), x.tokens // 2, 2 * x.width)


def _stranger(g: Draft, x: Stream) -> Stream:
    """Side by side with channels of another stream, or with tokens that are constant."""
    others = [other for other in g.streams if other.tokens == x.tokens]
    if others and x.width == 4 and (other := g.pick(others)).width == 4:
        return Stream(g.op("Concat", x.name, other.name, axis=2), x.tokens, 8)
    if g.dynamic or x.tokens > 6:
        return _shuffle(g, x)
    token = g.constant(np.tile(g.rng.standard_normal((1, 1, x.width)), (2, 1, 1)))
    return Stream(g.op("Concat", token, x.name, axis=1), x.tokens + 1, x.width)
