"""The verb: load, canonicalize, calibrate, rewrite, verify, plan, lower, measure."""

import os
import warnings
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from itertools import islice

import onnx_ir as ir

from .calib.collect import collect
from .calib.files import require_data
from .calib.holdout import Split, split
from .calib.notes import Notes
from .calib.rows import dropped_rows
from .calib.sample_axes import count_samples, sample_axes
from .calib.sources import Batches, Data, batches
from .choices import patterns
from .errors import (
    CalibrationWarning,
    DataError,
    OutputError,
    RequantError,
    SyntheticCalibrationWarning,
    TargetWarning,
)
from .ir.canonical.canonicalize import canonicalize
from .ir.interface import require_interface
from .ir.linear import find_linears, no_layers
from .ir.load import Source, describe, load
from .ir.names import remember_names, separate_nodes
from .ir.shapes.infer import InferShapes
from .ir.validate import refuse_nan, stored_tensors
from .measurement import judges, measure
from .outputs import files, refuse_overwrite, require_outputs
from .passes.convert_precision import precision_records
from .passes.insert_qdq import enclosed_layers
from .passes.parallel import one_blas_thread
from .passes.records import layer_records, site_records
from .passes.select_layers import unmatched
from .planning import Task, choose_plan
from .progress import Progress, Stopwatch
from .recipe import Recipe, find_recipe
from .report import Report
from .result import Lowering, Precision, Result
from .runtime.ort.infer_types import infer_types
from .runtime.session import require_loadable
from .runtime.targets import target as find_target
from .runtime.verify import verify

ONE_SAMPLE = "quantized without any transform: one sample tells nothing about others; calibrate on two or more"


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
    evaluation: Data | None = None,
    report_file: str | os.PathLike[str] | None = None,
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
        output: where to write the model, if anywhere; written whole or not at all. A symbolic link is followed. What
            was read, and what is no regular file, is never overwritten.
        precision: "float32", "float16" or "bfloat16": what is computed in where there are no codes.
        zero_points: let one-sided data have a finer grid, where the engine takes any zero point; two engines'
            artifacts then no longer have the same codes.
        keep_io: leave the model's inputs and outputs in float32 in half precision too.
        evaluation: data to measure the result on, as ``calibration`` is given. None measures on samples of the
            calibration data that are held out of everything else, where there are enough.
        report_file: where to write the report, ``.html`` or ``.json``, if anywhere; by the same rules.
        progress: told each stage and its steps.

    Raises:
        RequantError: one line that says what is wrong with the model, the data or the target.
    """
    chosen, lowering = find_recipe(recipe), Lowering(target, precision, zero_points, keep_io)
    _foresee(chosen, lowering)
    keep = patterns(keep)
    times = Stopwatch(progress)
    require_outputs(output, report_file)
    require_data(calibration)
    require_data(evaluation)
    with times("load"):
        original = load(source)
        separate_nodes(original)
        inputs = files(source, original, calibration, evaluation)
        refuse_overwrite(inputs, output, report_file)
        refuse_nan(original, describe(source))
    report = Report(describe(source), chosen.name, target, precision, inputs=inputs)
    report.bytes_before = report.bytes_after = _size(original)
    with times("analyse"):
        model = original.clone()
        canonicalize(model, chosen.opset)
        remember_names(original, model)
    if any(True for _ in find_linears(model.graph)):
        if strangers := unmatched(model, keep):
            raise RequantError(f"{describe(source)}: no linear layer is called {strangers[0]!r}, which keep asks for")
        task = Task(original, model, chosen, lowering, keep, evaluation)
        result = _quantized(task, calibration, report, times)
    else:
        report.layers = list(enclosed_layers(model))
        where = " outside of the bodies of If and Loop" if report.layers else ""
        report.message = f"nothing to quantize: {no_layers(model.graph)}{where}"
        result = original, model
    require_interface(original, result[0], narrowed=not lowering.keep_io)
    finished = Result(result[0], report, result[1], lowering)
    if output is not None:
        with times("save"):
            finished.save(output)
    report.times = times.seconds
    if report_file is not None:
        _save_report(finished, report_file, output)
    return finished


def _save_report(finished: Result, path: str | os.PathLike[str], output: str | os.PathLike[str] | None) -> None:
    """Write the report; a failure says that the model is there all the same."""
    try:
        finished.save_report(path)
    except OutputError as error:
        written = f"; the model was written to {os.fspath(output)}" if output is not None else ""
        raise OutputError(f"{error}{written}") from error


def _foresee(recipe: Recipe, lowering: Lowering) -> None:
    """Raise, or warn, where what is asked for cannot be had of any model."""
    if lowering.precision == "float32" and not lowering.keep_io:
        raise RequantError("inputs and outputs in half precision need a half to be in: precision float16 or bfloat16")
    missing = [find_target(lowering.target).lacks(chosen) for chosen in recipe.formats]
    if all(missing):
        warnings.warn(f"{recipe.name} leaves every layer in float: {missing[0]}", TargetWarning, stacklevel=3)


def _quantized(task: Task, calibration: Data | None, report: Report, times: Stopwatch) -> tuple[ir.Model, ir.Model]:
    """The model for the engine, and the plan that it comes from; the former is the original if nothing is coded."""
    model, target = task.model, task.lowering.target
    if infer_types(model):
        InferShapes()(model)
    data, blind = _data(calibration, model, task.recipe), calibration is None and not task.recipe.calibrated
    with times("calibrate"):
        along = sample_axes(model)
        parts = Split(data) if calibration is None else split(data, partial(count_samples, axes=along))
    _calibrate(task, parts, report, times, collecting=not blind)
    reference = model.clone()
    if report.calibration.get("samples") == 1 and task.recipe.rewrites and not data.random:
        task = replace(task, recipe=task.recipe.plain)
        report.notes.append(ONE_SAMPLE)
    planned = choose_plan(task, parts, reference, report, times, knowing=not blind)
    with times("lower"), one_blas_thread():
        lowered = task.lowering.apply(planned, report)
        require_loadable(lowered, target)
    report.sites, report.layers = list(site_records(planned)), list(layer_records(lowered))
    report.wide = list(precision_records(lowered))
    if not any(layer.quantized for layer in report.layers):
        reasons = dict.fromkeys(layer.reason for layer in report.layers)
        report.message = f"nothing to quantize: every linear layer stays in float on {target} ({'; '.join(reasons)})"
        return task.original, planned
    report.bytes_after = _size(lowered)
    with times("measure"):
        lowering = task.lowering.measurable
        report.measured_in = lowering.precision
        if data.missing and task.evaluation is None:
            report.message = f"neither verified nor measured: {data.missing}"
        else:
            measurable = lowered if lowering == task.lowering else lowering.apply(planned, report)
            random = data.random and task.evaluation is None
            measure(reference, measurable, partial(judges, task, parts, report), report, random=random)
    return lowered, planned


def _data(calibration: Data | None, model: ir.Model, recipe: Recipe) -> Batches:
    if calibration is None and recipe.calibrated:
        warnings.warn(
            "no calibration data: ranges come from random inputs and the accuracy means nothing; "
            "pass real samples for real use",
            SyntheticCalibrationWarning,
            stacklevel=4,
        )
    try:
        return batches(calibration, model)
    except DataError as error:  # random inputs do not fit the model, and no range is to come from them
        if calibration is not None or recipe.calibrated:
            raise
        return Batches((), "none", str(error))


def _calibrate(task: Task, parts: Split, report: Report, times: Stopwatch, *, collecting: bool) -> None:
    """Collect statistics on the model, and make sure that it is still what the original was."""
    if collecting:
        with times("calibrate"):
            notes = Notes(task.model)
            watched = notes.watch(parts.training)
            samples = collect(task.model, watched, progress=lambda count: times.progress("calibrate", count))
        data = parts.training
        report.calibration = {"source": data.origin, "samples": samples + parts.samples, "held_out": parts.samples}
        if dropped := dropped_rows(task.model):
            report.calibration["dropped"] = dropped
        report.notes += [] if data.random else notes.lines(samples)
        for note in report.notes:
            warnings.warn(note, CalibrationWarning, stacklevel=4)
    with times("verify"):
        verify(task.original, task.model, islice(parts.training, 1), done="the canonical form")


def _size(model: ir.Model) -> int:
    """Bytes of weights."""
    return sum(tensor.nbytes for tensor in stored_tensors(model))
