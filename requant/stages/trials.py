"""Trials: choices for the parts of a plan, each measured as a whole, and what the limits of a job say of them."""

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from ..ir.validate import stored_bytes
from ..limits import Limits
from ..passes.cost_model.program import Caps, Picks
from .job import Job
from .judge import Judge, Measurement
from .parts import Parts

MILLISECOND = 1e6
"""Nanoseconds."""

_ROUNDING = 1e-9
"""The share of a number by which sums in another order may differ."""


@dataclass(frozen=True)
class Trial:
    """A choice for each part: its cost by the program, what was measured, and its artifact's bytes if asked for."""

    picks: Picks
    cost: float
    measurement: Measurement
    size: int | None


def meets_loss(limits: Limits, judge: Judge, measurement: Measurement) -> bool:
    """Tell whether the loss is within ``limits``: the bound of the SQNR, and the drop of the metric as measured."""
    if limits.min_sqnr is not None and measurement.bound < limits.min_sqnr:
        return False
    return limits.max_drop is None or judge.drop(measurement) <= limits.max_drop + _ROUNDING * abs(judge.float_score)


def is_better(judge: Judge, measurement: Measurement, than: Measurement) -> bool:
    """Tell whether a plan loses less: by the metric where there is one, or where that is equal by the worst output.

    A metric above that of the float model is luck, and no less of a loss than one that is equal.
    """
    return _merit(judge, measurement) > _merit(judge, than)


def _merit(judge: Judge, measurement: Measurement) -> tuple[float, float]:
    drop = 0.0 if judge.metric is None else max(judge.drop(measurement), 0.0)
    return (-drop if np.isfinite(drop) else -np.inf, measurement.sqnr)


def plan_measured(job: Job) -> Measurement:
    """Measure the plan of the job, once for all limits."""
    memory = job.memory
    if memory.plan is None:
        memory.plan = job.judge.measured(job.model)
    return memory.plan


def artifact_size(job: Job, plan: ir.Model) -> int:
    """Return the bytes of all stored tensors of the artifact of ``plan``."""
    return stored_bytes(job.lowering.apply(plan, job.report))


@dataclass
class Trials:
    """The trials of the ``parts`` of a job; each is measured once for all limits.

    ``excess`` is by how many bytes artifacts are at most larger than the options of their parts say.
    """

    job: Job
    parts: Parts
    excess: float = -np.inf

    def of(self, picks: Picks) -> Trial:
        """Measure ``picks``."""
        memory = self.job.memory
        if picks not in memory.measured:
            is_plan = not self.parts.regions and not any(picks)
            applied = self.parts.applied(picks, {})
            memory.measured[picks] = plan_measured(self.job) if is_plan else self.job.judge.measured(applied)
        size = self.size(picks) if self.job.limits.max_bytes is not None else None
        return Trial(picks, self.parts.cost(picks), memory.measured[picks], size)

    def size(self, picks: Picks) -> int:
        """Return the bytes of the artifact of ``picks``; the float model is written as it came."""
        if self.parts.is_float(picks):
            return self.job.report.bytes_before
        sizes = self.job.memory.sizes
        if picks not in sizes:
            sizes[picks] = artifact_size(self.job, self.parts.applied(picks, {}))
        self.excess = max(self.excess, sizes[picks] - self.parts.size(picks))
        return sizes[picks]

    def holds(self, trial: Trial) -> bool:
        """Tell whether the trial is within all limits."""
        return self.affords(trial.picks) and meets_loss(self.job.limits, self.job.judge, trial.measurement)

    def affords(self, picks: Picks) -> bool:
        """Tell whether ``picks`` are within the limits of the cost."""
        most = self.job.limits.max_bytes
        return (most is None or self.size(picks) <= most) and self.is_fast(picks)

    def is_fast(self, picks: Picks) -> bool:
        """Tell whether ``picks`` are estimated to be within the limit of the latency."""
        return self.milliseconds(picks) <= self.most_milliseconds * (1 + _ROUNDING)

    def milliseconds(self, picks: Picks) -> float:
        """Return what ``picks`` are estimated to take, on an engine with prices."""
        return self.parts.time(picks) / MILLISECOND

    @property
    def most_milliseconds(self) -> float:
        """The limit of the latency."""
        limits = self.job.limits
        if limits.max_share is not None:
            return limits.max_share * self.milliseconds(self.parts.in_float)
        return np.inf if limits.max_latency is None else limits.max_latency

    @property
    def caps(self) -> Caps:
        """The most that options may cost by the limits, and their most bytes by what artifacts have more."""
        most = self.job.limits.max_bytes
        cost = self.most_milliseconds * (1 + _ROUNDING) * MILLISECOND - self.parts.fixed_time
        return Caps(cost, np.inf if most is None else most - max(self.excess, 0.0))
