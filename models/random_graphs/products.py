"""Random pairs and triples of products, wide enough for every engine's kernels: LoRA, SVD layers, low-rank attention.

y = x W        y = (x A) B + x W        y = f(x W + b) Vᵀ        …        with anything or nothing in between
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from .draft import Draft, RandomGraph, Stream
from .sequence import activation, gemm, matmul, norm, pointwise

WIDTHS = (16, 17, 24, 31, 32, 33, 48)
"""From the fewest channels that engines take on, odd ones among them."""

BEHIND = ("nothing", "nothing", "nothing", "activation", "activation", "transpose", "twice", "residual", "scale")
"""What may come behind a product."""

Spellings = tuple[Callable[[Draft, Stream, int], str], ...]
"""Ways to append a product of a width to a draft."""


def random_products(seed: int, *, convs: bool = False) -> RandomGraph:
    """A model of two or three products in a row from ``x`` to ``y``; the same for the same seed.

    With ``convs`` some of them are spelled as Convs of one element.
    """
    rng = np.random.default_rng(seed)
    g = Draft(rng, opset=int(rng.choice((18, 20, 23))), dynamic=bool(rng.random() < 0.3))
    x = Stream("x", int(rng.choice((16, 17, 20))), int(rng.choice(WIDTHS)))
    g.streams.append(x)
    if g.chance(0.4):
        g.streams.append(norm(g, x))
    for _ in range(int(rng.integers(2, 4))):
        g.streams.append(_step(g, g.streams[-1], _CONVS if convs else _SPELLINGS))
    return RandomGraph(g.model(x), (rng.standard_normal((2, x.tokens, x.width)) * _outliers(rng, x)).astype(np.float32))


def _step(g: Draft, x: Stream, spellings: Spellings) -> Stream:
    """A product, and what often comes behind one."""
    y = _adapted(g, x, spellings) if g.chance(0.15) else _product(g, x, g.pick(WIDTHS), spellings)
    if g.chance(0.15):
        g.extra.append(y.name)
    match g.pick(BEHIND):
        case "activation":
            y = y._replace(name=activation(g, y.name, y.width))
        case "transpose" if not g.dynamic:
            y = Stream(g.transpose(y.name, 0, 2, 1), y.width, y.tokens)
        case "twice":
            y = y._replace(name=g.transpose(g.transpose(y.name, 0, 2, 1), 0, 2, 1))
        case "residual" if others := [other for other in g.streams if other[1:] == y[1:]]:
            y = y._replace(name=g.either("Add", y.name, g.pick(others).name))
        case "scale":
            y = y._replace(name=g.either("Mul", y.name, g.constant(0.5)))
    return y


def _product(g: Draft, x: Stream, width: int, spellings: Spellings) -> Stream:
    return Stream(g.pick(spellings)(g, x, width), x.tokens, width)


def _bare(g: Draft, x: Stream, width: int) -> str:
    return g.op("MatMul", x.name, g.parameter(x.width, width, fan=x.width))


def _adapted(g: Draft, x: Stream, spellings: Spellings) -> Stream:
    """A layer with an adapter of low rank beside it."""
    y, low = _product(g, x, g.pick(WIDTHS), spellings), _product(g, x, 16, spellings)
    return y._replace(name=g.either("Add", y.name, _product(g, low, y.width, spellings).name))


_SPELLINGS: Spellings = (matmul, _bare, _bare, gemm)
_CONVS: Spellings = (*_SPELLINGS, pointwise, pointwise)


def _outliers(rng: np.random.Generator, x: Stream) -> NDArray[np.float64]:
    """A few channels that stand out, or none."""
    hot = rng.random(x.width) < (0.1 if rng.random() < 0.5 else 0.0)
    return np.where(hot, 20.0, 1.0)
