"""The plan: exact rewrites, each verified, then a quantizer for every value; or the plain plan where that is better."""

from dataclasses import dataclass, replace
from functools import partial
from itertools import islice

import onnx_ir as ir

from .calib.holdout import MOST, Split
from .calib.sources import Batches, Data
from .candidates import advantage, noise
from .ir.sites.find import Site, find_sites
from .passes.choose_layers import ChooseLayers
from .passes.parallel import one_blas_thread
from .passes.plan_quantizers import PlanQuantizers
from .passes.round_weights import RoundWeights
from .recipe import Recipe
from .report import Report
from .result import Lowering, runnable
from .runtime.compare import common_layers
from .runtime.targets import target as find_target
from .runtime.verify import verify
from .stages import Stopwatch

VERIFIED_SAMPLES = 2


@dataclass(frozen=True)
class Task:
    """The model as it came and in canonical form, and what to make of it."""

    original: ir.Model
    model: ir.Model
    recipe: Recipe
    lowering: Lowering
    keep: tuple[str, ...]
    evaluation: Data | None


def choose_plan(
    task: Task, parts: Split, reference: ir.Model, report: Report, times: Stopwatch, *, knowing: bool
) -> ir.Model:
    """The plan of the recipe, or the plain one where samples that are held out show that it is better.

    Where these are too few to leave no doubt, the calibration data may confirm it: they flatter the plan that is fitted
    to them. Alone they do not decide, since a margin costs there and pays on other data.
    """
    simple = replace(task, recipe=task.recipe.plain, model=task.model.clone())
    _plan(task, parts.training, report, times, knowing=knowing)
    if parts.held_out is None or task.recipe == simple.recipe:
        return task.model
    _plan(simple, parts.training, report, times, knowing=knowing)
    with times("judge"):
        lowering = task.lowering.measurable
        candidates = [runnable(lowering.apply(one.model, report)) for one in (task, simple)]
        judged = partial(noise, reference, candidates)
        origin, (ours, plain) = "held-out", judged(parts.held_out)
        gain = advantage(ours, plain)
        if not gain and plain.sum() < ours.sum():
            origin, (ours, plain) = "calibration", judged(islice(parts.training, MOST))
            gain = advantage(ours, plain)
    if not gain:
        return task.model
    report.notes.append(f"quantized without any transform: {gain:.1f} dB better on {len(plain)} {origin} batches")
    report.verification = 0.0
    return simple.model


def _plan(task: Task, data: Batches, report: Report, times: Stopwatch, *, knowing: bool) -> None:
    """Rewrite the model and give it the quantizers that every engine's artifact comes from.

    Without ``knowing`` any data there is nothing that a rewrite or a rounding could be judged by.
    """
    recipe, model = task.recipe, task.model
    ChooseLayers(task.keep, task.lowering.target, recipe.formats)(model)
    if knowing:
        with times("rewrite"), one_blas_thread():
            report.verification = _rewrite(model, recipe, data)
    with times("plan"), one_blas_thread():
        PlanQuantizers(recipe.formats, recipe.ranges, find_target(task.lowering.target).weight_bits)(model)
        if knowing and recipe.rounding == "compensated":
            RoundWeights()(model)


def _rewrite(model: ir.Model, chosen: Recipe, data: Batches) -> float:
    """Run the recipe's exact passes, each verified against the model before it."""
    worst = 0.0
    for rewrite in chosen.rewrites:
        before = model.clone()
        places = {
            reader.linear.output.name or "": site.name
            for site in find_sites(model)
            if isinstance(site, Site)
            for reader in site.readers
        }
        if rewrite(model).modified:
            watched = {name: places.get(name, "") for name in common_layers(before, model)}
            feeds = islice(data, VERIFIED_SAMPLES)
            worst = max(worst, verify(before, model, feeds, done=type(rewrite).__name__, watched=watched))
    return worst
