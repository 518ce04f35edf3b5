"""`requant.optimize`: stages over one job, from loading a model to measuring its artifact."""

import os
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from .attention import Attention
from .calib.files import data_files, require_data
from .calib.sources import Data
from .check_build import BuildOptions
from .demands import find_demands, require_limits
from .effort import EffortName
from .errors import OutputError, RequantError, TargetWarning
from .ir.interface import require_interface
from .ir.load import Source
from .limits import Limits, parsed_limits
from .lowering import Lowering, Precision
from .metrics import Function
from .outputs import PathLike, refuse_overwrite, require_outputs
from .progress import Progress, Stopwatch
from .recipe import Recipe, find_recipe
from .result import Result
from .runtime.prices import Prices
from .runtime.prices_file import read_prices
from .runtime.targets import target as find_target
from .stages import LIMITING, PLANNING, Job


def optimize(
    source: Source,
    calibration: Data | None = None,
    recipe: str | Recipe = "int8",
    target: str = "cpu",
    keep: Sequence[str] | int = (),
    output: str | os.PathLike[str] | None = None,
    *,
    min_sqnr: float | None = None,
    max_drop: float | None = None,
    max_latency: float | str | None = None,
    max_bytes: float | str | None = None,
    metric: str | Function = "sqnr",
    labels: object = None,
    effort: EffortName = "normal",
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
    """Quantize a float model for an engine, as close to the float model as its 8-bit kernels and the limits allow.

    Args:
        source: a path, bytes, ``onnx.ModelProto``, ``onnx_ir.Model`` or ``torch.onnx.ONNXProgram``; never modified.
        calibration: an ``.npz``, a folder, an iterable of ``{input name: array}``, a callable; None is random data.
        recipe: a name in `requant.recipe.RECIPES`, ``module:object`` of the caller's own, or a `Recipe`.
        target: a name in `requant.runtime.TARGETS`.
        keep: names or glob patterns of nodes to leave in float, or how many of the costliest by `requant.advise`.
        output: where to write the model, if anywhere; written whole or not at all, and never over what was read.
        min_sqnr: the least SQNR of each output in dB, on held-out samples of ``calibration``; see docs/limit.md.
        max_drop: the most by which the ``metric`` may be below that of the float model.
        max_latency: the most milliseconds by the estimate of ``prices``, or a share of the float model's: "60%".
        max_bytes: the most bytes of the artifact's tensors, or a size: "50MB". Limits of cost alone: at least loss.
        metric: "sqnr", "kl", "top1", ``module:function``, or a function of outputs and labels; larger is better.
        labels: an array or a file with one for each calibration sample; None compares with the float model.
        effort: "low", "normal" or "high": how many plans are tried for limits.
        attention: "fp8" or "int8" for Q, K, V and softmax, at a cost that is reported; None: by the recipe.
        precision: type of floats that are not quantized, but for inputs and outputs with ``keep_io``: see `Lowering`.
        zero_points: asymmetric quantization of non-negative activations, by engines that take any zero point.
        finish: take a model that is quantized in part: that part stays as it is, the rest is quantized beside it.
        evaluation: data to measure the result on; None is held-out samples of ``calibration``, where there are enough.
        prices: what kernels take, from `requant.measure_prices` or its file; None is what the target's row has.
        report_file: where to write the report, ``.html`` or ``.json``, if anywhere; by the same rules.
        build: report the kernels beside those of the float model: of a TensorRT engine, or of a session on a processor.
        progress: told each stage and its steps.

    Raises:
        RequantError: one line that says what is wrong with the model, the data, the target or the limits.
    """
    limits = parsed_limits(min_sqnr=min_sqnr, max_drop=max_drop, max_latency=max_latency, max_bytes=max_bytes)
    lowering = Lowering(target, precision, zero_points, keep_io, _prices(prices, output, report_file))
    demands = find_demands(calibration, lowering, keep, limits, metric, labels, effort, attention)
    rest = finish, evaluation, output, report_file, build, Stopwatch(progress)
    return _run(Job(source, calibration, find_recipe(recipe), lowering, *rest, **vars(demands)))


def _run(job: Job) -> Result:
    """Run all stages; what they made up to a plan is kept for other limits."""
    lowering = job.lowering
    _require_files((job.output, job.report_file), (job.calibration, job.evaluation, job.labels))
    _validate(job.recipe, lowering, job.build)
    _run_stages(PLANNING, job)
    start = job.separated()
    return _limited(job, lowering, partial(_replanned, start, lowering))


def _run_stages(stages: Sequence[Callable[[Job], None]], job: Job) -> None:
    for stage in stages:
        if not job.finished:
            stage(job)


def _replanned(start: Job, lowering: Lowering, limits: Limits) -> Result:
    """Return the result for other ``limits``, by what the jobs of earlier ones have measured."""
    require_limits(limits, start.metric, start.lowering, start.calibration)
    return _limited(start.with_limits(limits), lowering, partial(_replanned, start, lowering))


def _limited(job: Job, lowering: Lowering, replan: Callable[[Limits], Result]) -> Result:
    """Run the stages from a plan on, and write what the call asks for; ``lowering`` is what it leaves to the engine."""
    _run_stages(LIMITING, job)
    require_interface(job.original, job.artifact, narrowed=not lowering.keep_io)
    result = Result(job.artifact, job.report, job.model, lowering, replan)
    _save(result, job)
    return result


def _prices(prices: Prices | PathLike | None, *outputs: PathLike | None) -> Prices | None:
    """Return ``prices``, read if they are a file, which none of ``outputs`` may replace."""
    if prices is None or isinstance(prices, Prices):
        return prices
    refuse_overwrite([Path(prices)], *outputs)
    return read_prices(prices)


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


def _require_files(outputs: tuple[PathLike | None, PathLike | None], inputs: tuple[object, ...]) -> None:
    """Raise unless the outputs can be written and the data can be read, before any work."""
    require_outputs(*outputs)
    for data in inputs:
        require_data(data)
        refuse_overwrite(data_files(data), *outputs)


def _validate(recipe: Recipe, lowering: Lowering, build: BuildOptions | None) -> None:
    """Raise or warn if no model can give what is asked for."""
    if not lowering.may_be_half and not lowering.keep_io:
        raise RequantError("inputs and outputs in half precision need a half to be in: precision float16 or bfloat16")
    if build is not None:
        build.require(lowering.target)
    missing = [find_target(lowering.target).lacks(fmt) for fmt in recipe.formats]
    if all(missing):
        warnings.warn(f"{recipe.name} leaves every layer in float: {missing[0]}", TargetWarning, stacklevel=4)
