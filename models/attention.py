"""Self-attention over [batch, tokens, width]: three linears or one fused one, masks, and Swin's windows."""

from math import isqrt

import numpy as np

from .graph import Channels, Graph, linear, plain

MASKED = -3.4e38
"""What a causal mask adds to the score of a later token: about the least float32."""

INT64_MAX = 2**63 - 1


def attention(g: Graph, x: Channels, mask: str | None = None) -> str:
    """Attention with separate query, key and value linears; ``mask`` is added to the scores."""
    perms = {"query": [0, 2, 1, 3], "key": [0, 2, 3, 1], "value": [0, 2, 1, 3]}
    query, key, value = (_heads(g, linear(g, x, g.spec.width, label), perm) for label, perm in perms.items())
    return _attend(g, query, key, value, mask)


def fused_attention(g: Graph, x: Channels, mask: str) -> str:
    """Attention with one linear for query, key and value; ``mask`` is added to the scores."""
    spec = g.spec
    qkv = linear(g, x, 3 * spec.width, "qkv")
    parts = g.op("Reshape", qkv, g.const([0, 0, 3, spec.heads, spec.head_width]))
    stacked = g.op("Transpose", parts, perm=[2, 0, 3, 1, 4])
    query, key, value = (g.op("Gather", stacked, g.const(i), axis=0) for i in range(3))
    return _attend(g, query, g.op("Transpose", key, perm=[0, 1, 3, 2]), value, mask)


def causal_mask(g: Graph, x: str) -> str:
    """The mask that hides later tokens: a constant, or computed from ``x``'s shape if tokens are dynamic."""
    if g.spec.tokens:
        return g.const(np.triu(np.full((1, 1, g.spec.tokens, g.spec.tokens), MASKED), k=1))
    tokens = g.op("Gather", g.op("Shape", x), g.const(1), axis=0)
    position = g.op("Range", g.const(0), tokens, g.const(1))
    query, key = (g.op("Reshape", position, g.const(shape)) for shape in ([-1, 1], [1, -1]))
    return g.op("Where", g.op("Less", query, key), g.const(MASKED), g.const(0.0))


def windowed_attention(g: Graph, x: Channels, window: int, shift: int) -> str:
    """Swin's attention inside ``window`` x ``window`` tokens of a square grid rolled by ``shift``."""
    side, width = isqrt(g.spec.tokens or 0), g.spec.width
    across = side // window
    grid = g.op("Reshape", x.value, g.const([-1, side, side, width]))
    grid = _roll(g, grid, shift)
    blocks = _swap_blocks(g, grid, [-1, across, window, across, window, width])
    windows = g.op("Reshape", blocks, g.const([-1, window**2, width]))
    position = g.weight("position", g.normal(1, g.spec.heads, window**2, window**2))
    y = fused_attention(g, x._replace(value=windows), position)
    blocks = _swap_blocks(g, y, [-1, across, across, window, window, width])
    grid = _roll(g, g.op("Reshape", blocks, g.const([-1, side, side, width])), -shift)
    return g.op("Reshape", grid, g.const([-1, side**2, width]))


def _swap_blocks(g: Graph, x: str, shape: list[int]) -> str:
    return g.op("Transpose", g.op("Reshape", x, g.const(shape)), perm=[0, 1, 3, 2, 4, 5])


def _roll(g: Graph, grid: str, shift: int) -> str:
    """``np.roll(grid, -shift, axis)`` for both axes of the grid, as exporters write it."""
    for axis in (1, 2) if shift else ():
        ends = ([shift], [INT64_MAX]), ([0], [shift])
        parts = (g.op("Slice", grid, g.const(a), g.const(b), g.const([axis])) for a, b in ends)
        grid = g.op("Concat", *parts, axis=axis)
    return grid


def _heads(g: Graph, x: str, perm: list[int]) -> str:
    split = g.op("Reshape", x, g.const([0, 0, g.spec.heads, g.spec.head_width]))
    return g.op("Transpose", split, perm=perm)


def _attend(g: Graph, query: str, key: str, value: str, mask: str | None) -> str:
    """``query`` and ``value`` [batch, heads, tokens, dim], ``key`` [batch, heads, dim, tokens]."""
    scores = g.op("Mul", g.op("MatMul", query, key), g.const(g.spec.head_width**-0.5))
    scores = g.op("Add", scores, mask) if mask else scores
    mixed = g.op("MatMul", g.op("Softmax", scores, axis=-1), value)
    joined = g.op("Reshape", g.op("Transpose", mixed, perm=[0, 2, 1, 3]), g.const([0, 0, g.spec.width]))
    return linear(g, plain(joined, g.spec.width), g.spec.width, "output")
