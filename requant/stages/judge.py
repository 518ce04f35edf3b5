"""The judge of plans: how much closer one is to the float model than another, on samples that set neither."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from ..calib.holdout import MOST
from ..result import runnable
from ..runtime.feeds import Feed
from .candidates import advantage, noise, noise_by_output
from .job import Job


def improvement(job: Job, model: ir.Model, least: float = 0.0) -> str:
    """Say by how much the plan in ``model`` is better than that of the ``job``; nothing where that is not significant.

    Held-out samples decide. Where these are too few to leave no doubt, the calibration data may confirm what they say;
    alone they decide only where nothing was held out.

    Args:
        job: the job; measured as the engine's artifact with float32 between quantized layers, on this machine.
        model: another plan of the same model.
        least: the decibels from which on it is worth another plan.
    """
    with job.times("judge"):
        plans = [runnable(job.lowering.in_float32.apply(plan, job.report)) for plan in (job.model, model)]
        measured, gain, count, origin = partial(noise, job.reference, plans), 0.0, 0, "held-out"
        if job.parts.held_out is not None:
            present, other = measured(job.parts.held_out)
            gain, count = advantage(present, other), len(other)
        if job.parts.held_out is None or (not gain and other.sum() < present.sum()):
            present, other = measured(islice(job.parts.training, MOST))
            gain, count, origin = advantage(present, other), len(other), "calibration"
    return f"{gain:.1f} dB better on {count} {origin} batches" if gain > least else ""


@dataclass(frozen=True)
class Judge:
    """The samples that plans are judged on: those held out, or the first of the calibration data where none are.

    Plans are measured as the engine's artifact, run as written on this machine.
    """

    job: Job
    feeds: tuple[Feed, ...]
    origin: str

    @classmethod
    def of(cls, job: Job) -> "Judge":
        """Return the judge of the plans of ``job``."""
        held_out = job.parts.held_out
        data, origin = (job.parts.training, "calibration") if held_out is None else (held_out, "held-out")
        return cls(job, tuple(islice(data, MOST)), origin)

    @property
    def samples(self) -> str:
        """What it judges on, in words."""
        return f"{len(self.feeds)} {self.origin} batch{'es' if len(self.feeds) > 1 else ''}"

    def noise(self, plans: Sequence[ir.Model], most: int = MOST) -> NDArray[np.float64]:
        """Measure the noise of ``plans`` in each output on ``most`` feeds, [plans, outputs], relative to its size."""
        job = self.job
        artifacts = [runnable(job.lowering.measurable.apply(plan, job.report)) for plan in plans]
        measured: NDArray[np.float64] = noise_by_output(job.reference, artifacts, self.feeds[:most]).sum(axis=1)
        return measured
