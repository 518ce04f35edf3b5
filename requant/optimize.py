"""The verb: load, canonicalize, calibrate, rewrite, verify, plan, lower, measure."""

import os
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import onnx_ir as ir

from .calib.collect import collect
from .calib.sources import Batches, Data, batches
from .errors import DataError, RequantError, SourceError, SyntheticCalibrationWarning, TargetWarning
from .ir.canonical.form import canonicalize
from .ir.linear import find_linears
from .ir.load import Source, describe, load
from .ir.save import require_writable
from .ir.sites.find import Site, find_sites
from .ir.validate import refuse_nan, stored_tensors
from .passes.choose_layers import ChooseLayers, unmatched
from .passes.halve_precision import precision_records
from .passes.insert_qdq import enclosed_layers
from .passes.plan_quantizers import PlanQuantizers
from .passes.records import layer_records, site_records
from .passes.round_weights import RoundWeights
from .recipe import Recipe, find_recipe
from .report import Report
from .result import Lowering, Precision, Result, files, refuse_overwrite
from .runtime.compare import common_layers, compare
from .runtime.session import require_loadable
from .runtime.targets import target as find_target
from .runtime.verify import verify
from .stages import Progress, Stopwatch

VERIFIED_SAMPLES = 2
MEASURED_SAMPLES = 4


def optimize(
    source: Source,
    calibration: Data | None = None,
    recipe: str | Recipe = "int8",
    target: str = "cpu",
    keep: Sequence[str] = (),
    output: str | os.PathLike[str] | None = None,
    *,
    precision: Precision = "float32",
    zero_points: bool = False,
    keep_io: bool = True,
    progress: Progress = lambda stage, count: None,
) -> Result:
    """Quantize a float model for an engine, as close to the float model as its 8-bit kernels allow.

    Args:
        source: a path, bytes, an ``onnx.ModelProto``, an ``onnx_ir.Model`` or a ``torch.onnx.ONNXProgram``;
            never modified.
        calibration: an ``.npz``, a folder of them, an iterable of ``{input name: array}``, or a callable that
            returns one. None uses seeded synthetic inputs, and warns where the recipe needs to know ranges.
        recipe: a name in `requant.recipe.RECIPES`, or a `Recipe`.
        target: a name in `requant.runtime.TARGETS`.
        keep: names or glob patterns of nodes to leave in float.
        output: where to write the model, if anywhere; written whole or not at all.
        precision: "float32", "float16" or "bfloat16": what is computed in where there are no codes.
        zero_points: let one-sided data have a finer grid, where the engine takes any zero point; two engines'
            artifacts then no longer have the same codes.
        keep_io: leave the model's inputs and outputs in float32 in half precision too.
        progress: told each stage and its steps.

    Raises:
        RequantError: one line that says what is wrong with the model, the data or the target.
    """
    chosen, lowering = find_recipe(recipe), Lowering(target, precision, zero_points, keep_io)
    _foresee(chosen, lowering)
    times = Stopwatch(progress)
    if output is not None:
        require_writable(Path(output))
    with times("load"):
        original = load(source)
        inputs = files(source, original)
        if output is not None:
            refuse_overwrite(inputs, output)
        refuse_nan(original, describe(source))
    report = Report(describe(source), chosen.name, target, precision)
    report.bytes_before = report.bytes_after = _size(original)
    with times("analyse"):
        model = original.clone()
        canonicalize(model, chosen.opset)
    if any(True for _ in find_linears(model.graph)):
        if strangers := unmatched(model, keep):
            raise RequantError(f"{describe(source)}: no linear layer is called {strangers[0]!r}, which keep asks for")
        result = _quantized(_Task(original, model, chosen, lowering, tuple(keep)), calibration, report, times)
    else:
        report.layers = list(enclosed_layers(model))
        where = " outside of the bodies of If and Loop" if report.layers else ""
        report.message = f"nothing to quantize: the graph has no MatMul, Gemm or Conv with a constant weight{where}"
        result = original, original
    finished = Result(result[0], report, result[1], lowering, inputs)
    if output is not None:
        with times("save"):
            finished.save(output)
    report.times = times.seconds
    return finished


def _foresee(recipe: Recipe, lowering: Lowering) -> None:
    """Raise, or warn, where what is asked for cannot be had of any model."""
    if lowering.precision == "float32" and not lowering.keep_io:
        raise RequantError("inputs and outputs in half precision need a half to be in: precision float16 or bfloat16")
    missing = [find_target(lowering.target).lacks(chosen) for chosen in recipe.formats]
    if all(missing):
        warnings.warn(f"{recipe.name} leaves every layer in float: {missing[0]}", TargetWarning, stacklevel=3)


@dataclass(frozen=True)
class _Task:
    """The model as it came and in canonical form, and what to make of it."""

    original: ir.Model
    model: ir.Model
    recipe: Recipe
    lowering: Lowering
    keep: tuple[str, ...]


def _quantized(task: _Task, calibration: Data | None, report: Report, times: Stopwatch) -> tuple[ir.Model, ir.Model]:
    """The model for the engine, and the plan that it comes from; the former is the original if nothing is coded."""
    model, target = task.model, task.lowering.target
    data, blind = _data(calibration, model, task.recipe), calibration is None and not task.recipe.calibrated
    _calibrate(task, data, report, times, collecting=not blind)
    reference = model.clone()
    _plan(task, data, report, times, knowing=not blind)
    with times("lower"):
        lowered = task.lowering.apply(model, report)
        require_loadable(lowered, target)
    report.sites, report.layers = list(site_records(model)), list(layer_records(lowered))
    report.wide = list(precision_records(lowered))
    if not any(layer.quantized for layer in report.layers):
        reasons = dict.fromkeys(layer.reason for layer in report.layers)
        report.message = f"nothing to quantize: every linear layer stays in float on {target} ({'; '.join(reasons)})"
        return task.original, model
    report.bytes_after = _size(lowered)
    with times("measure"):
        lowering = task.lowering.measurable
        report.measured_in = lowering.precision
        _measure(reference, lowered if lowering == task.lowering else lowering.apply(model, report), data, report)
    return lowered, model


def _data(calibration: Data | None, model: ir.Model, recipe: Recipe) -> Batches:
    if calibration is None and recipe.calibrated:
        warnings.warn(
            "no calibration data: ranges come from random inputs and the accuracy means nothing; "
            "pass real samples for real use",
            SyntheticCalibrationWarning,
            stacklevel=4,
        )
    return batches(calibration, model)


def _calibrate(task: _Task, data: Batches, report: Report, times: Stopwatch, *, collecting: bool) -> None:
    """Collect statistics on the model, and make sure that it is still what the original was."""
    if collecting:
        with times("calibrate"):
            samples = collect(task.model, data, progress=lambda count: times.progress("calibrate", count))
        report.calibration = {"source": data.origin, "samples": samples}
    with times("verify"):
        verify(task.original, task.model, islice(data, 1), done="the canonical form")


def _plan(task: _Task, data: Batches, report: Report, times: Stopwatch, *, knowing: bool) -> None:
    """Rewrite the model and give it the quantizers that every engine's artifact comes from.

    Without ``knowing`` any data there is nothing that a rewrite or a rounding could be judged by.
    """
    recipe, model = task.recipe, task.model
    ChooseLayers(task.keep, task.lowering.target, recipe.formats)(model)
    if knowing:
        with times("rewrite"):
            report.verification = _rewrite(model, recipe, data)
    with times("plan"):
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


def _measure(reference: ir.Model, lowered: ir.Model, data: Batches, report: Report) -> None:
    try:
        found = compare(reference, lowered, islice(data, MEASURED_SAMPLES))
    except DataError as error:  # the size of what the model computes depends on what it computes
        report.message = f"not measured: {error}"
    except SourceError as error:  # ONNX Runtime has no kernel for a few ops of the opset that half precision needs
        if report.measured_in == "float32":
            raise
        report.message = f"not measured: {error}"
    else:
        report.outputs, report.layer_distances = found.outputs, found.layers


def _size(model: ir.Model) -> int:
    """Bytes of weights."""
    return sum(tensor.nbytes for tensor in stored_tensors(model))
