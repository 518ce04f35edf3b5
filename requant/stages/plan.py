"""The fourth stage: exact rewrites, each verified, then a quantizer for every value; or the plain plan if better."""

from copy import copy
from functools import partial
from itertools import islice

import onnx_ir as ir

from ..calib.activations import measure_activations
from ..calib.collect import reaching_feeds
from ..calib.holdout import MOST
from ..calib.sources import Batches
from ..ir.channels.find import Site, find_sites
from ..passes.gptq import Gptq
from ..passes.measure_rounding_noise import MeasureRoundingNoise
from ..passes.parallel import one_blas_thread
from ..passes.plan_integer_values import PlanIntegerValues
from ..passes.plan_quantizers import PlanQuantizers
from ..passes.select_layers import SelectLayers
from ..recipe import Recipe
from ..result import runnable
from ..runtime.compare import common_layers
from ..runtime.targets import target as find_target
from ..runtime.verify import verify
from .candidates import advantage, noise
from .job import Job

VERIFIED_SAMPLES = 2


def choose_plan(job: Job) -> None:
    """Plan by the recipe, and by the plain one where held-out samples may show that it is better.

    Where these are too few to leave no doubt, the calibration data may confirm it: they flatter the plan that is fitted
    to them. Alone they do not decide, since a margin costs there and pays on other data.

    Raises:
        VerificationError: a rewrite changed what the model computes.
    """
    if job.calibrated:
        with job.times("plan"):
            MeasureRoundingNoise(job.lowering.target)(job.model)
    simple = copy(job)
    simple.recipe, simple.model = job.recipe.plain, job.model.clone()
    job.report.verification = _plan(job)
    if job.parts.held_out is None or job.recipe == simple.recipe:
        return
    _plan(simple)
    with job.times("judge"):
        lowering = job.lowering.measurable
        candidates = [runnable(lowering.apply(model, job.report)) for model in (job.model, simple.model)]
        measured = partial(noise, job.reference, candidates)
        origin, (full_noise, simple_noise) = "held-out", measured(job.parts.held_out)
        gain = advantage(full_noise, simple_noise)
        if not gain and simple_noise.sum() < full_noise.sum():
            origin, (full_noise, simple_noise) = "calibration", measured(islice(job.parts.training, MOST))
            gain = advantage(full_noise, simple_noise)
    if gain:
        job.report.notes.append(
            f"quantized without any transform: {gain:.1f} dB better on {len(simple_noise)} {origin} batches"
        )
        job.report.verification, job.model = 0.0, simple.model


def _plan(job: Job) -> float:
    """Rewrite the model and give it the quantizers that every engine's artifact comes from.

    Without calibration there is nothing that a rewrite or a rounding could be judged by.

    Returns the largest difference, relative, that a rewrite made to what the model computes.
    """
    recipe, model, difference = job.recipe, job.model, 0.0
    SelectLayers(job.keep, job.lowering.target, recipe.formats)(model)
    if job.calibrated:
        with job.times("rewrite"), one_blas_thread():
            difference = _rewrite(model, recipe, job.parts.training, job.lowering.target)
    with job.times("plan"), one_blas_thread():
        PlanQuantizers(recipe.formats, recipe.ranges, find_target(job.lowering.target).weight_bits)(model)
        if job.calibrated and recipe.rounding == "gptq":
            Gptq()(model)
        PlanIntegerValues(job.lowering.target)(model)
    return difference


def _rewrite(model: ir.Model, recipe: Recipe, data: Batches, target: str) -> float:
    """Run the recipe's exact passes, each verified against the model before it; returns the largest difference.

    What was measured between kernels is measured again on what the passes made.
    """
    worst, modified = 0.0, False
    for rewrite in recipe.rewrites:
        before = model.clone()
        places = {
            consumer.linear.output.name or "": site.name
            for site in find_sites(model)
            if isinstance(site, Site)
            for consumer in site.consumers
        }
        if rewrite(model).modified:
            modified = True
            watched = {name: places.get(name, "") for name in common_layers(before, model)}
            feeds = (*islice(data, VERIFIED_SAMPLES), *reaching_feeds(model))
            worst = max(worst, verify(before, model, feeds, rewrite=type(rewrite).__name__, watched=watched))
    if modified:
        measure_activations(model, data)
        MeasureRoundingNoise(target)(model)
    return worst
