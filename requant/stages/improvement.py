"""The better of two plans: how much closer one is to the float model than another, on samples that set neither."""

from functools import partial
from itertools import islice

import onnx_ir as ir

from ..calib.holdout import MOST
from ..lowering import runnable
from .candidates import advantage, noise
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
