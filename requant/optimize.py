"""`requant.optimize`: stages over one job, from loading a model to measuring its artifact."""

import os
import warnings
from collections.abc import Sequence

from .calib.files import require_data
from .calib.sources import Data
from .choices import patterns
from .errors import OutputError, RequantError, TargetWarning
from .ir.interface import require_interface
from .ir.load import Source
from .outputs import require_outputs
from .progress import Progress, Stopwatch
from .recipe import Recipe, find_recipe
from .result import Lowering, Precision, Result
from .runtime.targets import target as find_target
from .stages import STAGES, Job


def optimize(
    source: Source,
    calibration: Data | None = None,
    recipe: str | Recipe = "int8",
    target: str = "cpu",
    keep: Sequence[str] = (),
    output: str | os.PathLike[str] | None = None,
    *,
    precision: Precision | None = None,
    zero_points: bool = False,
    keep_io: bool = True,
    finish: bool = False,
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
        recipe: a name in `requant.recipe.RECIPES`, ``module:object`` of the caller's own, or a `Recipe`.
        target: a name in `requant.runtime.TARGETS`.
        keep: names or glob patterns of nodes to leave in float.
        output: where to write the model, if anywhere; written whole or not at all. A symbolic link is followed. What
            was read, and what is no regular file, is never overwritten.
        precision: "float32", "float16" or "bfloat16": floating-point type of the layers that are not quantized. None or
            "auto" is that of a file in half precision where the engine computes in it; elsewhere float16 on TensorRT,
            but for nodes that need float32, and float32 on other engines.
        zero_points: asymmetric quantization of non-negative activations, where the engine takes any zero point;
            the integers of two engines' artifacts then differ.
        keep_io: leave the model's inputs and outputs in the types of the file in half precision too.
        finish: take a model that is quantized in part: that part stays as it is, the rest is quantized beside it.
        evaluation: data to measure the result on, as ``calibration`` is given. None measures on held-out samples of the
            calibration data, where there are enough.
        report_file: where to write the report, ``.html`` or ``.json``, if anywhere; by the same rules.
        progress: told each stage and its steps.

    Raises:
        RequantError: one line that says what is wrong with the model, the data or the target.
    """
    full_recipe, lowering = find_recipe(recipe), Lowering(target, precision, zero_points, keep_io)
    _validate(full_recipe, lowering)
    require_outputs(output, report_file)
    require_data(calibration)
    require_data(evaluation)
    job = Job(
        source, calibration, full_recipe, lowering, patterns(keep), finish, evaluation, output, report_file,
        Stopwatch(progress),
    )  # fmt: skip
    for stage in STAGES:
        if not job.finished:
            stage(job)
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


def _validate(recipe: Recipe, lowering: Lowering) -> None:
    """Raise or warn if no model can give what is asked for."""
    if not lowering.may_be_half and not lowering.keep_io:
        raise RequantError("inputs and outputs in half precision need a half to be in: precision float16 or bfloat16")
    missing = [find_target(lowering.target).lacks(fmt) for fmt in recipe.formats]
    if all(missing):
        warnings.warn(f"{recipe.name} leaves every layer in float: {missing[0]}", TargetWarning, stacklevel=3)
