"""The better of two plans: how much closer one is to the float model than another, on samples that set neither."""

from functools import partial
from itertools import islice

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from ..calib.holdout import MOST
from ..lowering import runnable
from .candidates import FLOOR, advantage, decibels, noise
from .job import Job


def improvement(job: Job, model: ir.Model, least: float = 0.0, *, predicted: bool = False) -> str:
    """Say by how much the plan in ``model`` is better than that of the ``job``; nothing where that is not significant.

    Held-out samples decide. Where these are too few to leave no doubt, the calibration data may confirm what they say;
    alone they decide only where nothing was held out.

    Args:
        job: the job; measured as the engine's artifact with float32 between quantized layers, on this machine.
        model: another plan of the same model.
        least: the decibels from which on it is worth another plan.
        predicted: whether the noise of its parts says so too; then it is enough that it is better by the ``least`` on
            held-out samples, and better on calibration data. A few samples near a decision may make most of the noise,
            of which no test of significance is sure.
    """
    with job.times("judge"):
        plans = [runnable(job.lowering.in_float32.apply(plan, job.report)) for plan in (job.model, model)]
        measured, held_out = partial(noise, job.reference, plans), job.parts.held_out
        differences = list[float]()
        for origin, feeds in (("held-out", held_out), ("calibration", islice(job.parts.training, MOST))):
            if feeds is None or (differences and differences[0] <= 0):
                continue
            present, other = measured(feeds)
            differences.append(_difference(present, other))
            if (gain := advantage(present, other)) > least:
                return f"{gain:.1f} dB better on {len(other)} {origin} batches"
        if predicted and len(differences) > 1 and differences[0] > least and differences[1] > FLOOR:
            return f"{differences[0]:.1f} dB better on held-out batches, {differences[1]:.1f} on calibration data"
    return ""


def _difference(present: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    return decibels(float(other.sum())) - decibels(float(present.sum()))
