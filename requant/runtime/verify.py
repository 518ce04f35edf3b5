"""Verification that a rewrite left the function unchanged: both graphs run without the engine's optimizations."""

from collections.abc import Iterable, Mapping

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from ..errors import VerificationError
from ..ir.ops import SIGMOIDS, SOFTMAXES
from .feeds import Feed
from .outputs import layout, numbers, texts
from .rules.traverse import MOVERS, PAIR, producer
from .session import runner

TOLERANCE = 1e-3
"""Largest allowed ‖y - y'‖ / ‖y‖ of any compared value. float32 rounding leaves 1e-6 a layer; a wrong rewrite, 1e-1."""

LEAST = 1e-3
"""The least size of a probability in a relative difference: its kernel rounds to 1e-7 of 1, however small it is."""

_PROBABILITIES = (SOFTMAXES - {"LogSoftmax"}) | SIGMOIDS
"""Ops whose outputs lie between 0 and 1."""


def verify(
    before: ir.Model,
    after: ir.Model,
    feeds: Iterable[Feed],
    *,
    rewrite: str,
    watched: Mapping[str, str] | None = None,
    tolerance: float = TOLERANCE,
) -> float:
    """Check that ``after`` computes what ``before`` does, with the engine's optimizations off.

    Args:
        before, after: the model on either side of a rewrite.
        feeds: a few samples.
        rewrite: the name of the rewrite, for the message.
        watched: names of values that must not change either, in graph order, and the site that each belongs to.

    Returns:
        The largest relative difference.

    Raises:
        VerificationError: names ``rewrite`` and the first value that differs.
    """
    watched = watched or {}
    names = [*watched, *(value.name or "" for value in before.graph.outputs)]
    outputs = len(before.graph.outputs)
    expected, actual = runner(before, list(watched)), runner(after, list(watched))
    values = ir.convenience.create_value_mapping(before.graph)
    least = {name: LEAST if _is_probability(values.get(name)) else 0.0 for name in names}
    worst = 0.0
    for feed in feeds:
        before_values, after_values = expected(feed), actual(feed)
        pairs = zip(_taps_first(before_values, outputs), _taps_first(after_values, outputs), strict=True)
        for name, (old, new) in zip(names, pairs, strict=True):
            difference = _relative(old, new, least[name])
            if not difference <= tolerance:
                place = f" at site {watched[name]!r}" if watched.get(name) else ""
                raise VerificationError(
                    f"{rewrite} changed the model{place}: value {name!r} differs by {difference:.2g} of its size "
                    f"(allowed: {tolerance:.0e}); nothing was written"
                )
            worst = max(worst, difference)
    return worst


def _taps_first(values: list[NDArray[np.generic]], outputs: int) -> list[NDArray[np.generic]]:
    return values[outputs:] + values[:outputs]


def _is_probability(value: ir.Value | None) -> bool:
    node = producer(value, PAIR | MOVERS)
    return node is not None and node.op_type in _PROBABILITIES


def _relative(old: object, new: object, least: float) -> float:
    """Compute ‖old - new‖ / ‖old‖ over finite elements, where those of old count as ``least`` on average, or more.

    It is infinite where shapes or text differ, or where either is not finite and the other not the same.
    """
    if layout(old) != layout(new) or texts(old) != texts(new):
        return float("inf")
    y, z = numbers(old), numbers(new)
    finite = np.isfinite(y)
    if not np.isfinite(z[finite]).all() or not np.array_equal(y[~finite], z[~finite], equal_nan=True):
        return float("inf")
    y, z = y[finite], z[finite]
    size, error = max(float(np.linalg.norm(y)), least * y.size**0.5), float(np.linalg.norm(y - z))
    return error / size if size else error
