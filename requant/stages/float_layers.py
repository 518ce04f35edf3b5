"""The fifth stage: layers that make most of the noise at poor outputs stay in float, if that is shown to help."""

from copy import copy
from itertools import chain, islice

import onnx_ir as ir

from ..calib.holdout import MOST
from ..ir.formats import INT8
from ..lowering import runnable
from ..passes.annotations import layer_records
from ..passes.cost_model.cheap_layers import cheap_layers
from ..passes.cost_model.noisy_layers import keep_in_float, noise_of_layers, noisy_layers
from ..passes.layer_places import placed_layers
from .candidates import noise_by_output
from .improvement import improvement
from .job import Job
from .plan import plan

POOR = 30.0
"""The SQNR of the worst output, in dB, below which layers may stay in float: noise of a thousandth of the signal."""

LEAST_GAIN = 3.0
"""The least gain in decibels for which they do: half of the noise."""


def leave_noisy_layers(job: Job) -> None:
    """Plan anew with the noisy layers in float, and take that plan if it is better and has layers in int8 all the same.

    If it is not, the cheap ones are tried; not where kernels write integers, and a layer in float costs its neighbours
    time too. A plain recipe quantizes the graph as it is, and random data tell nothing. Costs two passes over the
    held-out samples; where outputs are poor, the passes of `noise_of_layers`; where there are noisy or cheap layers,
    another plan and its measurement for each.

    Raises:
        VerificationError: a rewrite changed what the model computes.
    """
    if not may_leave_layers(job):
        return
    for shares in _proposals(job):
        other = copy(job)
        other.recipe, other.model = job.planned_by, job.unplanned.clone()
        keep_in_float(other.model, shares)
        difference = plan(other)
        quantized = quantized_outputs(float32_artifact(other))
        if quantized and (gain := improvement(job, other.model, LEAST_GAIN, predicted=True)):
            layers = "layer" if len(shares) == 1 else "layers"
            job.report.notes.append(f"{len(shares)} noisy {layers} in float: {gain}")
            job.report.verification, job.model = difference, other.model
            return


def may_leave_layers(job: Job) -> bool:
    """Tell whether outputs decide which layers of an int8 plan stay in float: limits say themselves which."""
    is_int8 = job.recipe != job.recipe.plain and job.planned_by.formats == (INT8,)
    return not job.limits and is_int8 and not job.parts.training.random


def _proposals(job: Job) -> list[dict[int, float]]:
    """List the noisy layers and the cheap ones, with their shares of the noise; none if no output is poor."""
    with job.times("judge"):
        artifact = float32_artifact(job)
        quantized = quantized_outputs(artifact)
        worst = noise_if_poor(job, artifact) if len(quantized) > 1 else 0.0
        if not worst:
            return []
        feeds = tuple(islice(chain(job.parts.held_out or (), job.parts.training), MOST))
        noise = noise_of_layers(job.model, quantized, feeds)
        enough, cheap = _most_noise() / worst, dict[int, float]()
        noisy = noisy_layers(noise, enough)
        if not job.lowering.engine.integer_outputs:
            layers = placed_layers(job.model, feeds[0]).values()
            cheap = cheap_layers(noise, {layer.place: float(layer.elements) for layer in layers}, enough)
        return [*filter(None, [noisy, cheap if cheap != noisy else {}])]


def noise_if_poor(job: Job, artifact: ir.Model) -> float:
    """Return the noise of the worst output over its signal, on held-out samples; 0 where it is not poor."""
    judges = job.parts.training if job.parts.held_out is None else job.parts.held_out
    errors = noise_by_output(job.reference, [runnable(artifact)], islice(judges, MOST))[0].sum(axis=0)
    worst = float(errors.max(initial=0.0))
    return worst if worst > _most_noise() else 0.0


def _most_noise() -> float:
    return float(10 ** (-POOR / 10))


def float32_artifact(job: Job) -> ir.Model:
    """Return the artifact of the job's plan with float32 between quantized layers."""
    return job.lowering.in_float32.apply(job.model, job.report)


def quantized_outputs(artifact: ir.Model) -> frozenset[str]:
    """Return the outputs of the layers in int8."""
    return frozenset(layer.output for layer in layer_records(artifact) if layer.quantized)
