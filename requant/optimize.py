"""`requant.optimize`: stages over one job, from loading a model to measuring its artifact."""

import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from .attention import Attention, require_attention
from .calib.files import require_data
from .calib.sources import Data
from .check_build import BuildOptions
from .choices import layers_to_keep, require_decibels
from .errors import OutputError, RequantError, TargetWarning
from .ir.formats import Format
from .ir.interface import require_interface
from .ir.load import Source
from .outputs import PathLike, refuse_overwrite, require_outputs
from .progress import Progress, Stopwatch
from .recipe import Recipe, find_recipe
from .result import Lowering, Precision, Result
from .runtime.prices import Prices
from .runtime.prices_file import read_prices
from .runtime.targets import target as find_target
from .runtime.trt.api import tensorrt
from .stages import STAGES, Job


def optimize(
    source: Source,
    calibration: Data | None = None,
    recipe: str | Recipe = "int8",
    target: str = "cpu",
    keep: Sequence[str] | int = (),
    output: str | os.PathLike[str] | None = None,
    *,
    min_sqnr: float | None = None,
    attention: Attention | None = None,
    precision: Precision | None = None,
    zero_points: bool = False,
    keep_io: bool = True,
    finish: bool = False,
    evaluation: Data | None = None,
    prices: Prices | str | os.PathLike[str] | None = None,
    report_file: str | os.PathLike[str] | None = None,
    build: BuildOptions | None = None,
    progress: Progress = lambda stage, count: None,
) -> Result:
    """Quantize a float model for an engine, as close to the float model as its 8-bit kernels allow.

    Args:
        source: a path, bytes, an ``onnx.ModelProto``, an ``onnx_ir.Model`` or a ``torch.onnx.ONNXProgram``;
            never modified.
        calibration: an ``.npz``, a folder of them, an iterable of ``{input name: array}``, or a callable that
            returns one. None uses seeded synthetic inputs, and warns where the recipe needs to know ranges.
        recipe: a name in `requant.recipe.RECIPES`, ``module:object`` of the caller's own, or a `Recipe`.
        target: a name in `requant.runtime.TARGETS`.
        keep: names or glob patterns of nodes to leave in float, or how many of the costliest by `requant.advise`.
        output: where to write the model, if anywhere; written whole or not at all. A symbolic link is followed. What
            was read, and what is no regular file, is never overwritten.
        min_sqnr: the least SQNR in dB of each output on the held-out samples of ``calibration``, or on its first 32
            batches where none are: the cheapest plan that was measured to have it, or float. See docs/limit.md.
        attention: "fp8" or "int8" for Q, K, V and softmax, at a cost that is reported; None is float unless it is free.
        precision: floating-point type of the layers that are not quantized. None or "auto" is that of a file in half
            precision that the engine computes in; else float16 on TensorRT, where nodes allow it, float32 elsewhere.
        zero_points: asymmetric quantization of non-negative activations, by engines that take any zero point.
        keep_io: leave the model's inputs and outputs in the types of the file in half precision too.
        finish: take a model that is quantized in part: that part stays as it is, the rest is quantized beside it.
        evaluation: data to measure the result on; None is held-out samples of ``calibration``, where there are enough.
        prices: what kernels take, from `requant.measure_prices` or its file; None is what the target's row has.
        report_file: where to write the report, ``.html`` or ``.json``, if anywhere; by the same rules.
        build: build the engine too, and report its kernels beside those of the float16 model; TensorRT alone.
        progress: told each stage and its steps.

    Raises:
        RequantError: one line that says what is wrong with the model, the data or the target.
    """
    (names, keep_count, limit), full_recipe = _demands(keep, min_sqnr, calibration), find_recipe(recipe)
    lowering = Lowering(target, precision, zero_points, keep_io, _prices(prices, output, report_file))
    asked = _validate(full_recipe, lowering, build, attention, calibrated=calibration is not None)
    _require_files(output, report_file, calibration, evaluation)
    job = Job(
        source, calibration, full_recipe, lowering, names, finish, evaluation, output, report_file,
        build, Stopwatch(progress), limit, keep_count, asked, attention is None,
    )  # fmt: skip
    for stage in _stages(job):
        stage(job)
    return _written(job, lowering)


def _stages(job: Job) -> Iterator[Callable[[Job], None]]:
    """Yield the stages of ``job``, until it is finished."""
    for stage in STAGES:
        if not job.finished:
            yield stage


def _prices(prices: Prices | PathLike | None, *outputs: PathLike | None) -> Prices | None:
    """Return ``prices``, read if they are a file, which none of ``outputs`` may replace."""
    if prices is None or isinstance(prices, Prices):
        return prices
    refuse_overwrite([Path(prices)], *outputs)
    return read_prices(prices)


def _written(job: Job, lowering: Lowering) -> Result:
    """Return the result, and write what the call asks for; ``lowering`` is what it leaves to the engine."""
    require_interface(job.original, job.artifact, narrowed=not lowering.keep_io)
    result = Result(job.artifact, job.report, job.model, lowering)
    _save(result, job)
    return result


def _save(result: Result, job: Job) -> None:
    """Write what the call asks for; a failure of the report says that the model is there all the same."""
    if job.output is not None:
        with job.times("save"):
            result.save(job.output)
    job.report.times = job.times.seconds
    if job.report_file is None:
        return
    try:
        result.save_report(job.report_file)
    except OutputError as error:
        note = f"; the model was written to {os.fspath(job.output)}" if job.output is not None else ""
        raise OutputError(f"{error}{note}") from error


def _require_files(
    output: str | os.PathLike[str] | None,
    report_file: str | os.PathLike[str] | None,
    calibration: Data | None,
    evaluation: Data | None,
) -> None:
    """Raise unless the outputs can be written and the data can be read, before any work."""
    require_outputs(output, report_file)
    require_data(calibration)
    require_data(evaluation)


def _demands(
    keep: Sequence[str] | int, min_sqnr: float | None, calibration: Data | None
) -> tuple[tuple[str, ...], int, float | None]:
    """Return the names and the number of layers to keep, and the least SQNR, if a model can have them."""
    (names, count), limit = layers_to_keep(keep), require_decibels("min_sqnr", min_sqnr)
    if calibration is None and (limit is not None or count):
        asked = f"min_sqnr={limit:g}" if limit is not None else f"keep={count}"
        raise RequantError(f"{asked} needs calibration data: the noise of layers is measured on them")
    return names, count, limit


def _validate(
    recipe: Recipe, lowering: Lowering, build: BuildOptions | None, attention: Attention | None, *, calibrated: bool
) -> Format | None:
    """Raise or warn if no model can give what is asked for; returns the format of attention."""
    if not lowering.may_be_half and not lowering.keep_io:
        raise RequantError("inputs and outputs in half precision need a half to be in: precision float16 or bfloat16")
    if build is not None:
        tensorrt(lowering.target)
    missing = [find_target(lowering.target).lacks(fmt) for fmt in recipe.formats]
    if all(missing):
        warnings.warn(f"{recipe.name} leaves every layer in float: {missing[0]}", TargetWarning, stacklevel=3)
    return require_attention(attention, lowering.engine, calibrated=calibrated)
