"""A comparison of two plans with the float model, on samples that set neither.

    D = 10 log10( Σ N_a / Σ N_b ) dB          N: squared error of a sample, over all outputs, relative to their size

One plan counts as better than the other only if D is significant: above a floor, and above its standard error (a
jackknife over the samples) times Student's quantile. Source: Quenouille (1956) and Tukey (1958) for the jackknife.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray
from scipy.stats import t as student

from ..runtime.distance import CEILING, standard_error, sums
from ..runtime.feeds import Feed, fitted
from ..runtime.outputs import holds_floats, layout
from ..runtime.session import runner

FLOOR = 0.5
"""Decibels below which a difference is not worth another plan."""

CONFIDENCE = 0.95
"""One-sided."""


def noise(reference: ir.Model, candidates: Sequence[ir.Model], feeds: Iterable[Feed]) -> NDArray[np.float64]:
    """Measure the squared error of each of the ``candidates`` in each feed, over all outputs, [candidates, feeds]."""
    total: NDArray[np.float64] = noise_by_output(reference, candidates, feeds).sum(axis=-1)
    return total


def noise_by_output(reference: ir.Model, candidates: Sequence[ir.Model], feeds: Iterable[Feed]) -> NDArray[np.float64]:
    """Measure the squared error of each of the ``candidates``, [candidates, feeds, outputs], all run as written.

    Each float output counts by its own size over all feeds. What is not finite where the reference is has infinite
    error; outputs of integers, of another shape, which depends on the data, and those that are always 0 have none.
    """
    return energies(reference, candidates, feeds).relative


class Energies(NamedTuple):
    """The squares of the reference, [feeds, outputs], and of the errors, [candidates, feeds, outputs]."""

    signal: NDArray[np.float64]
    error: NDArray[np.float64]

    @property
    def relative(self) -> NDArray[np.float64]:
        """The errors, each by the size of its output over all feeds."""
        sizes = self.signal.sum(axis=0)
        shares: NDArray[np.float64] = np.where(sizes > 0, self.error / np.where(sizes > 0, sizes, 1), 0)
        return shares


def energies(
    reference: ir.Model,
    candidates: Sequence[ir.Model],
    feeds: Iterable[Feed],
    watch: Callable[[list[list[object]]], None] = lambda outputs: None,
) -> Energies:
    """Measure what `noise_by_output` counts; ``watch`` is given the outputs of all candidates for each feed."""
    names = [value.name for value in reference.graph.outputs]
    runs = [outputs_in_order(model, names) for model in candidates]
    expected, signals, errors = runner(reference), list[list[float]](), list[list[list[float]]]()
    for feed in feeds:
        reference_outputs, outputs = expected(feed), [run(feed) for run in runs]
        watch(outputs)
        signals.append([_energy(output) for output in reference_outputs])
        errors.append([[_lost(y, z) for y, z in zip(reference_outputs, one, strict=True)] for one in outputs])
    return Energies(np.array(signals), np.array(errors).swapaxes(0, 1))


def advantage(baseline: NDArray[np.float64], candidate: NDArray[np.float64]) -> float:
    """Return the decibels by which ``candidate`` [feeds] is less noisy than ``baseline``, or 0 if not significant."""
    if len(baseline) < 2 or not np.isfinite(candidate).all() or not candidate.sum() > 0:
        return 0.0
    if not np.isfinite(baseline).all():
        return float("inf")
    gain = _decibels(baseline.sum(), candidate.sum())
    gains = [_decibels(baseline.sum() - a, candidate.sum() - b) for a, b in zip(baseline, candidate, strict=True)]
    significant = gain > FLOOR and gain > standard_error(gains) * float(student.ppf(CONFIDENCE, len(gains) - 1))
    return gain if significant else 0.0


def decibels(noise: float) -> float:
    """Return the SQNR of ``noise`` that is relative to the signal, at most `CEILING`."""
    return float(np.clip(_decibels(1.0, noise), -CEILING, CEILING))


def loss_in_words(noise: float) -> str:
    """Say what an output of so much ``noise``, relative to the signal, would do."""
    return f"have {decibels(noise):.1f} dB" if np.isfinite(noise) else "not be finite"


def _decibels(a: float, b: float) -> float:
    tiny = np.finfo(np.float64).tiny
    return float(10 * np.log10(max(max(a, tiny) / max(b, tiny), tiny)))


def outputs_in_order(model: ir.Model, names: Sequence[str | None]) -> Callable[[Feed], list[object]]:
    """Run ``model`` on data as the reference takes them; its outputs come in the order of ``names``."""
    run, output_names = runner(model), [value.name for value in model.graph.outputs]
    order = [output_names.index(name) for name in names]

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
