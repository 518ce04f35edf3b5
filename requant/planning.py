"""The plan: exact rewrites, each verified, then a quantizer for every value; or the plain plan where that is better."""

from dataclasses import dataclass, replace
from itertools import islice

import onnx_ir as ir

from .calib.holdout import Split
from .calib.sources import Batches, Data
from .candidates import advantage, noise
from .ir.channels.find import Site, find_sites
from .passes.gptq import Gptq
from .passes.parallel import one_blas_thread
from .passes.plan_quantizers import PlanQuantizers
from .passes.select_layers import SelectLayers
from .progress import Stopwatch
from .recipe import Recipe
from .report import Report
from .result import Lowering
from .runtime.compare import common_layers
from .runtime.targets import target as find_target
from .runtime.verify import verify

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
    """The plan of the recipe, or the plain one where samples that are held out show that it is better."""
    simple = replace(task, recipe=task.recipe.plain, model=task.model.clone())
    _plan(task, parts.training, report, times, knowing=knowing)
    if parts.held_out is None or task.recipe == simple.recipe:
        return task.model
    _plan(simple, parts.training, report, times, knowing=knowing)
    with times("judge"):
        lowering = task.lowering.measurable
        ours, plain = noise(reference, [lowering.apply(one.model, report) for one in (task, simple)], parts.held_out)
        gain = advantage(ours, plain)
    if not gain:
        return task.model
    report.notes.append(f"quantized without any transform: {gain:.1f} dB better on {len(plain)} held-out batches")
    report.verification = 0.0
    return simple.model


def _plan(task: Task, data: Batches, report: Report, times: Stopwatch, *, knowing: bool) -> None:
    """Rewrite the model and give it the quantizers that every engine's artifact comes from.

    Without ``knowing`` any data there is nothing that a rewrite or a rounding could be judged by.
    """
    recipe, model = task.recipe, task.model
    SelectLayers(task.keep, task.lowering.target, recipe.formats)(model)
    if knowing:
        with times("rewrite"), one_blas_thread():
            report.verification = _rewrite(model, recipe, data)
    with times("plan"), one_blas_thread():
        PlanQuantizers(recipe.formats, recipe.ranges, find_target(task.lowering.target).weight_bits)(model)
        if knowing and recipe.rounding == "gptq":
            Gptq()(model)


def _rewrite(model: ir.Model, chosen: Recipe, data: Batches) -> float:
    """Run the recipe's exact passes, each verified against the model before it."""
    worst = 0.0
    for rewrite in chosen.rewrites:
        before = model.clone()
        places = {
            consumer.linear.output.name or "": site.name
            for site in find_sites(model)
            if isinstance(site, Site)
            for consumer in site.consumers
        }
        if rewrite(model).modified:
            watched = {name: places.get(name, "") for name in common_layers(before, model)}
            feeds = islice(data, VERIFIED_SAMPLES)
            worst = max(worst, verify(before, model, feeds, done=type(rewrite).__name__, watched=watched))
    return worst
