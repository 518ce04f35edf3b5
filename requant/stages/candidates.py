"""A comparison of two plans with the float model, on samples that set neither.

    D = 10 log10( Σ N_a / Σ N_b ) dB          N: squared error of a sample, over all outputs, relative to their size

One plan counts as better than the other only if D is significant: above a floor, and above its standard error (a
jackknife over the samples) times Student's quantile. Source: Quenouille (1956) and Tukey (1958) for the jackknife.
"""

from collections.abc import Callable, Iterable, Sequence

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray
from scipy.stats import t as student

from ..runtime.distance import standard_error, sums
from ..runtime.feeds import Feed, fitted
from ..runtime.outputs import holds_floats, layout
from ..runtime.session import runner

FLOOR = 0.5
"""Decibels below which a difference is not worth another plan."""

CONFIDENCE = 0.95
"""One-sided."""


def noise(reference: ir.Model, candidates: Sequence[ir.Model], feeds: Iterable[Feed]) -> NDArray[np.float64]:
    """Measure the squared error of each of the ``candidates`` in each feed, [candidates, feeds], all run as written.

    Each float output counts by its own size over all feeds. What is not finite where the reference is has infinite
    error; an output of another shape, which depends on the data, has none.
    """
    names = [value.name for value in reference.graph.outputs]
    runs = [_in_order(model, names) for model in candidates]
    expected, lost = runner(reference), list[list[list[float]]]()
    sizes = np.zeros(len(names))
    for feed in feeds:
        wanted = expected(feed)
        sizes += [_energy(output) for output in wanted]
        lost.append([[_lost(y, z) for y, z in zip(wanted, run(feed), strict=True)] for run in runs])
    errors = np.array(lost)  # [feeds, candidates, outputs]
    told = sizes > 0
    relative: NDArray[np.float64] = (errors[..., told] / sizes[told]).sum(axis=-1).T
    return relative


def advantage(worse: NDArray[np.float64], better: NDArray[np.float64]) -> float:
    """Return the decibels by which ``better`` [feeds] has less noise than ``worse`` [feeds]; 0 if not significant."""
    if len(worse) < 2 or not np.isfinite(better).all() or not better.sum() > 0:
        return 0.0
    if not np.isfinite(worse).all():
        return float("inf")
    whole = _decibels(worse.sum(), better.sum())
    left = [_decibels(worse.sum() - a, better.sum() - b) for a, b in zip(worse, better, strict=True)]
    significant = whole > FLOOR and whole > standard_error(left) * float(student.ppf(CONFIDENCE, len(left) - 1))
    return whole if significant else 0.0


def _decibels(a: float, b: float) -> float:
    tiny = np.finfo(np.float64).tiny
    return float(10 * np.log10(max(a, tiny) / max(b, tiny)))


def _in_order(model: ir.Model, names: Sequence[str | None]) -> Callable[[Feed], list[object]]:
    """Run ``model`` on data as the reference takes them; its outputs come in the order of ``names``."""
    run, own = runner(model), [value.name for value in model.graph.outputs]
    order = [own.index(name) for name in names]

    def ordered(feed: Feed) -> list[object]:
        outputs = run(fitted(feed, model))
        return [outputs[position] for position in order]

    return ordered


def _energy(output: object) -> float:
    return sums(output, output).signal if holds_floats(output) else 0.0


def _lost(y: object, z: object) -> float:
    """Return the squared error; 0 where even the shape depends on the data, so that nothing can be compared."""
    if not holds_floats(y) or layout(y) != layout(z):
        return 0.0
    both = sums(y, z)
    return float("inf") if both.mismatched else both.noise
