"""The fourth stage: exact rewrites, each verified, then a quantizer for every value; or the plain plan if better."""

import math
from copy import copy
from dataclasses import replace
from itertools import islice

import onnx_ir as ir

from ..calib.activations import measure_activations
from ..calib.collect import reaching_feeds
from ..ir.channels.find import Site, find_sites
from ..ir.ops import is_op
from ..ir.traverse import nodes_within
from ..passes.gptq import Gptq
from ..passes.integer_regions import planned_time
from ..passes.layer_places import number_layers
from ..passes.measure_rounding_noise import MOST_FEEDS, MeasureRoundingNoise
from ..passes.parallel import one_blas_thread
from ..passes.plan_integer_values import PlanIntegerValues
from ..passes.plan_quantizers import PlanQuantizers
from ..passes.regions.problem import PER_DECIBEL
from ..passes.select_layers import SelectLayers
from ..passes.split_hard_swish import SplitHardSwish
from ..recipe import Recipe
from ..runtime.compare import common_layers
from ..runtime.verify import verify
from .attention import plan_attention
from .improvement import improvement
from .job import Job

VERIFIED_SAMPLES = 2

MOST_SLOWER = 1.06
"""The estimated time of a plan with channels scaled through activations, over that of the one without, at most.

It takes integers in place of float where the scales allow it; one that does not is another plan. What it takes longer
it has to gain in decibels, at the rate of the planner.
"""


def choose_plan(job: Job) -> None:
    """Plan by the recipe and its baselines, and by the plain recipe; take another plan only where it is shown better.

    The calibration data flatter the plan that is fitted to them, and a margin costs there and pays on other data, so
    that they do not decide alone.

    Raises:
        VerificationError: a rewrite changed what the model computes.
    """
    if job.calibrated:
        with job.times("plan"):
            _measure_noise(job)
    number_layers(job.model)
    job.unplanned = job.model.clone()
    first, *others = _recipes(job)
    take(*planned(first, job), job)
    for recipe in others:
        _take_if_better(recipe, job, f"planned by {recipe.name}")
    if others and job.planned_by == first:
        job.report.notes.append(f"planned by {first.name}: {job.recipe.name} is not shown to be better")
    if (scaled := _through_activations(job)) is not None:
        _take_if_better(scaled, job, "channels scaled through HardSwish")
    if job.parts.held_out is not None:
        _take_if_better(job.planned_by.plain, job, "quantized without any transform")


def _recipes(job: Job) -> list[Recipe]:
    """List the recipes to plan by, the preferred first: no baseline of whose formats the engine has none.

    Random data tell nothing, so that they compare no plans.
    """
    engine, baselines = job.lowering.engine, () if job.parts.training.random else job.recipe.baselines
    return [*(one for one in baselines if not all(engine.lacks(fmt) for fmt in one.formats)), job.recipe]


def _through_activations(job: Job) -> Recipe | None:
    """Return the recipe of the plan with transforms of what is on both sides of an activation too, if there is any.

    They gain where both sides are rounded, and cost the weights behind.
    """
    rewrites = job.planned_by.rewrites
    is_there = any(is_op(node, frozenset({"HardSwish"})) for node in nodes_within(job.unplanned.graph))
    if not is_there or not rewrites or not job.lowering.engine.integer_outputs or job.parts.training.random:
        return None
    return replace(job.planned_by, rewrites=(SplitHardSwish(), *rewrites), baselines=())


def _take_if_better(recipe: Recipe, job: Job, note: str) -> None:
    """Plan by ``recipe`` too, and take that plan with a ``note`` if it is better than the job's."""
    if recipe == job.planned_by:
        return
    other, difference = planned(recipe, job)
    slower = _slower(job, other.model) if not _is_noisy(recipe) else 1.0
    if slower > MOST_SLOWER:
        return
    if gain := improvement(job, other.model, max(0.0, math.log(slower) / PER_DECIBEL)):
        job.report.notes.append(f"{note}: {gain}")
        take(other, difference, job)


def _slower(job: Job, model: ir.Model) -> float:
    """Return the estimated time of the plan in ``model`` over that of the ``job``."""
    other, own = (planned_time(plan.graph, job.lowering.engine) for plan in (model, job.model))
    return other / own if own else 1.0


def _is_noisy(recipe: Recipe) -> bool:
    """Tell whether noise says which Convs a plan by ``recipe`` selects: not where transforms make less of it."""
    return not any(isinstance(rewrite, SplitHardSwish) for rewrite in recipe.rewrites)


def planned(recipe: Recipe, job: Job) -> tuple[Job, float]:
    """Return a job planned by ``recipe``, and the largest difference that a rewrite made."""
    other = copy(job)
    other.recipe, other.model = recipe, job.unplanned.clone()
    return other, plan(other)


def take(other: Job, difference: float, job: Job) -> None:
    """Take the plan of the ``other`` job, and the ``difference`` that its rewrites made, for ``job``."""
    job.model, job.planned_by, job.report.verification = other.model, other.recipe, difference


def plan(job: Job) -> float:
    """Rewrite the model and give it the quantizers that every engine's artifact comes from.

    Without calibration there is nothing that a rewrite or a rounding could be judged by.

    Returns the largest difference, relative, that a rewrite made to what the model computes.
    """
    recipe, model, difference = job.recipe, job.model, 0.0
    SelectLayers(job.keep, job.lowering.engine, recipe.formats, _is_noisy(recipe))(model)
    if job.calibrated:
        with job.times("rewrite"), one_blas_thread():
            difference = _rewrite(job)
    with job.times("plan"), one_blas_thread():
        PlanQuantizers(recipe.formats, recipe.ranges, job.lowering.engine.weight_bits)(model)
        if job.calibrated and recipe.rounding == "gptq":
            Gptq()(model)
        if job.attention is not None:
            plan_attention(job, model, job.attention)
        PlanIntegerValues(job.lowering.engine)(model)
    return difference


def _measure_noise(job: Job) -> None:
    """Measure the noise of rounding on held-out samples, if there are any."""
    held_out = job.parts.held_out
    feeds = () if held_out is None else tuple(islice(held_out, MOST_FEEDS))
    MeasureRoundingNoise(job.lowering.engine, feeds)(job.model)


def _rewrite(job: Job) -> float:
    """Run the recipe's exact passes, each verified against the model before it; returns the largest difference.

    What was measured between kernels is measured again on what the passes made.
    """
    model, data, worst, modified = job.model, job.parts.training, 0.0, False
    for rewrite in job.recipe.rewrites:
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
        _measure_noise(job)
    return worst
