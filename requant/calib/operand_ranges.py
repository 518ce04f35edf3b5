"""Ranges of values that no linear layer reads: the operands of products in attention."""

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from ..ir.quantized import is_partly_quantized
from ..runtime.feeds import Feed
from ..runtime.outputs import arrays
from ..runtime.session import runner
from .ranges import Interval

_ENDS = 2.0 ** -np.arange(0, 10.5, 0.5)
"""The ends of ranges to try for probabilities."""


def operand_ranges(model: ir.Model, values: Sequence[ir.Value], feeds: Iterable[Feed]) -> dict[ir.Value, Interval]:
    """Run ``model`` on ``feeds`` and return the smallest and largest finite number of each of ``values``.

    A value that never has one is left out.
    """
    ranges: dict[ir.Value, Interval] = {}
    for taps in _taps(model, values, feeds):
        for value, parts in taps.items():
            for data in (part[np.isfinite(part)] for part in parts):
                if data.size:
                    low, high = ranges.get(value, (np.inf, -np.inf))
                    ranges[value] = min(low, float(data.min())), max(high, float(data.max()))
    return ranges


def probability_ranges(
    model: ir.Model, mixtures: Sequence[tuple[ir.Value, ir.Value]], feeds: Iterable[Feed]
) -> dict[ir.Value, Interval]:
    """Run ``model`` on ``feeds`` and return a range [0, r] of each softmax P, the first of the ``mixtures`` (P, V).

    Of the powers of √½, r is the one for which ‖(P̂ - P) V‖ is least with 127 steps in P: most probabilities are far
    below a step of the range [0, 1], and all that they add up to would be lost.
    """
    values = list(dict.fromkeys(value for mixture in mixtures for value in mixture))
    losses = {probabilities: np.zeros(len(_ENDS)) for probabilities, _ in mixtures}
    for taps in _taps(model, values, feeds):
        for probabilities, value in mixtures:
            for p, v in zip(taps[probabilities], taps[value], strict=True):
                if np.isfinite(p).all() and np.isfinite(v).all():
                    losses[probabilities] += [_loss(p, v, end) for end in _ENDS]
    return {value: (0.0, float(_ENDS[loss.argmin()])) for value, loss in losses.items()}


def _taps(
    model: ir.Model, values: Sequence[ir.Value], feeds: Iterable[Feed]
) -> Iterator[dict[ir.Value, list[NDArray[np.float32]]]]:
    """Yield the arrays of each of ``values``, feed by feed."""
    names = [value.name or "" for value in values]
    run, outputs = runner(model, names, optimized=not is_partly_quantized(model)), len(model.graph.outputs)
    for feed in feeds:
        taps = zip(values, run(feed)[outputs:], strict=True)
        yield {value: [np.asarray(part, np.float32) for part in arrays(tap)] for value, tap in taps}


def _loss(p: NDArray[np.float32], v: NDArray[np.float32], end: float) -> float:
    step = np.float32(end / 127)
    rounded = np.minimum(np.round(p / step), 127) * step
    return float(np.square((rounded - p) @ v, dtype=np.float64).sum())
