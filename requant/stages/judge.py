"""The judge of plans: the noise of their outputs, and a metric of these, on samples that set none of them.

    N_o = Σ_f (y - ŷ)² / Σ_f y²,    SQNR_o = -10 log10 N_o,    bound: SQNR_o - t · s

over the feeds f, for each output o, where s is a jackknife's standard error over the feeds and t Student's quantile:
the true SQNR is above the bound with `CONFIDENCE`. Signal and noise of a feed are left out together, as a pair. The
standard error of a metric's drop is a jackknife's too: feeds are left out of the outputs of both models alike.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray
from scipy.stats import t as student

from ..calib.holdout import MOST
from ..errors import RequantError
from ..metrics import Labels, Metric, Outputs, joined
from ..runtime.distance import standard_error
from ..runtime.feeds import Feed
from .candidates import CONFIDENCE, Energies, decibels, energies, noise_by_output, outputs_in_order
from .judging_samples import JudgingSamples

ENOUGH = 6
"""The feeds from which on a bound is told: of fewer, the standard error is itself a guess."""


MOST_GROUPS = 32
"""The most groups of feeds that are left out one after the other: a metric may be slow."""


@dataclass(frozen=True)
class Measurement:
    """A plan as the judge measured it.

    Attributes:
        noise: in each output, relative to its size, [O].
        likely_noise: what it is at most by the bound, [O]; ``noise`` where feeds are too few to tell.
        score: of the metric; None without one.
    """

    noise: NDArray[np.float64]
    likely_noise: NDArray[np.float64]
    score: float | None = None

    @property
    def sqnr(self) -> float:
        """That of the worst output, in dB."""
        return decibels(float(self.noise.max(initial=0.0)))

    @property
    def bound(self) -> float:
        """The least SQNR that the worst output has by the bound, in dB."""
        return decibels(float(self.likely_noise.max(initial=0.0)))


@dataclass(frozen=True)
class Judge:
    """A judge of plans against the float ``reference``, on ``data``, by the noise of the outputs and by a ``metric``.

    Plans are measured as the engine's artifact, which ``write`` makes of a plan, run as written on this machine.
    """

    reference: ir.Model
    write: Callable[[ir.Model], ir.Model]
    data: JudgingSamples
    metric: Metric | None = None

    @property
    def feeds(self) -> tuple[Feed, ...]:
        """What it judges on, batch by batch."""
        return self.data.feeds

    @property
    def samples(self) -> str:
        """What it judges on, in words."""
        return str(self.data)

    @property
    def is_confident(self) -> bool:
        """True where the feeds are enough for a bound."""
        return len(self.feeds) >= ENOUGH

    def noise(self, plans: Sequence[ir.Model], most: int = MOST) -> NDArray[np.float64]:
        """Measure the noise of ``plans`` in each output on ``most`` feeds, [plans, outputs], relative to its size."""
        artifacts = [self.write(plan) for plan in plans]
        measured: NDArray[np.float64] = noise_by_output(self.reference, artifacts, self.feeds[:most]).sum(axis=1)
        return measured

    def measured(self, plan: ir.Model) -> Measurement:
        """Measure a plan on all feeds.

        Raises:
            RequantError: the metric cannot be computed.
        """
        outputs = list[list[object]]()
        watch = (lambda batch: None) if self.metric is None else lambda batch: outputs.append(batch[0])
        squares = energies(self.reference, [self.write(plan)], self.feeds, watch)
        noise: NDArray[np.float64] = squares.relative[0].sum(axis=0)
        likely = likely_noise(squares, noise) if self.is_confident else noise
        return Measurement(noise, likely, None if self.metric is None else self._score(self.metric, outputs))

    @cached_property
    def float_outputs(self) -> Outputs:
        """The outputs of the float model."""
        return joined(self._names, self._float_batches, self.data.counts)

    @cached_property
    def _float_batches(self) -> list[list[object]]:
        """The outputs of the float model, feed by feed."""
        return [*map(outputs_in_order(self.reference, self._names), self.feeds)]

    @cached_property
    def float_score(self) -> float:
        """The metric of the float model.

        Raises:
            RequantError: there is none, or it is not a finite number.
        """
        if self.metric is None:
            raise RequantError("there is no metric")
        score = self.metric.score(self.float_outputs, self._expected)
        if not np.isfinite(score):
            raise RequantError(f"metric {self.metric.name}: is {score} for the float model's outputs")
        return score

    def drop(self, measurement: Measurement) -> float:
        """Return by how much the metric is below that of the float model; NaN where it is not a number."""
        return self.float_score - (np.nan if measurement.score is None else measurement.score)

    def drop_error(self, plan: ir.Model) -> float | None:
        """Estimate the standard error of the drop of a plan; None where feeds are too few, or the metric has no number.

        Costs a run of each feed, and two calls of the metric for each group of feeds.

        Raises:
            RequantError: the metric cannot be computed.
        """
        if self.metric is None or not self.is_confident:
            return None
        batches = [*map(outputs_in_order(self.write(plan), self._names), self.feeds)]
        groups = np.array_split(np.arange(len(self.feeds)), min(len(self.feeds), MOST_GROUPS))
        drops = [self._drop_without(frozenset(group.tolist()), batches, self.metric) for group in groups]
        return standard_error(drops) if np.isfinite(drops).all() else None

    def _drop_without(self, left_out: frozenset[int], batches: list[list[object]], metric: Metric) -> float:
        """Return the drop on all feeds but those ``left_out``."""
        rest = [number for number in range(len(self.feeds)) if number not in left_out]
        part = self.data.of(rest)
        ours, floats = (
            joined(self._names, [one[number] for number in rest], part.counts) for one in (batches, self._float_batches)
        )
        expected = floats if part.labels is None else part.labels
        return metric.score(floats, expected) - metric.score(ours, expected)

    @property
    def _names(self) -> list[str]:
        return [value.name or "" for value in self.reference.graph.outputs]

    @property
    def _expected(self) -> Outputs | Labels:
        return self.float_outputs if self.data.labels is None else self.data.labels

    def _score(self, metric: Metric, outputs: Sequence[Sequence[object]]) -> float:
        return metric.score(joined(self._names, outputs, self.data.counts), self._expected)


def likely_noise(squares: Energies, noise: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the noise of each output by the lower bound of its SQNR, [O], where ``noise`` is that of all feeds.

    It is that itself where the outputs of one feed decide: a bound is undefined if others are silent or exact.
    """
    signal, error = squares.signal, squares.error[0]
    quantile = float(student.ppf(CONFIDENCE, len(signal) - 1))
    powers, errors = (_without_each(sums) for sums in (signal, error))
    likely = noise.copy()
    for output in range(len(noise)):
        pairs = list(zip(powers[:, output], errors[:, output], strict=True))
        if np.isfinite(noise[output]) and all(power > 0 and lost > 0 for power, lost in pairs):
            spread = standard_error([decibels(lost / power) for power, lost in pairs])
            likely[output] *= 10 ** (quantile * spread / 10)
    return likely


def _without_each(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the sums over all feeds but one, for each, [F, O]."""
    return np.array([np.delete(sums, feed, axis=0).sum(axis=0) for feed in range(len(sums))])
