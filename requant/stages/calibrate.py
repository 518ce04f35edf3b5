"""The third stage: hold samples out, collect statistics on the remaining ones, and verify the canonical form."""

import warnings
from functools import partial
from itertools import islice

import onnx_ir as ir

from ..calib.activations import measure_activations
from ..calib.collect import collect, reaching_feeds
from ..calib.holdout import Split, split
from ..calib.notes import Notes
from ..calib.rows import dropped_rows
from ..calib.sample_axes import count_samples, sample_axes
from ..calib.sources import Batches, Data, batches
from ..calib.statistics import MANY_ROWS, ROWS
from ..errors import CalibrationWarning, DataError, SyntheticCalibrationWarning, VerificationError
from ..ir.float_types import file_types
from ..passes.layer_records import float_layers
from ..recipe import Recipe
from ..runtime.verify import verify
from .job import Job

ONE_SAMPLE = "quantized without any transform: one sample tells nothing about others; calibrate on two or more"

_CALLER = 6
"""Frames from a warning to the caller of `optimize`."""


def calibrate_model(job: Job) -> None:
    """Collect statistics on the model; one sample alone makes the recipe a plain one.

    Raises:
        DataError: the data do not fit the model.
        VerificationError: the canonical form computes something else than the original.
    """
    data = _data(job.calibration, job.model, job.recipe)
    with job.times("calibrate"):
        along = sample_axes(job.model)
        held_out = job.calibration is not None
        job.parts = split(data, partial(count_samples, axes=along), job.most_held_out) if held_out else Split(data)
    if job.calibrated:
        _collect(job)
    with job.times("verify"):
        if reason := _loss_in_float32(job):
            job.report.layers = list(float_layers(job.model, reason))
            job.finish(f"nothing to quantize: {reason}")
            return
        feeds = (*islice(job.parts.training, 1), *reaching_feeds(job.model))
        verify(job.float_model, job.model, feeds, rewrite="the canonical form")
    job.reference = job.model.clone()
    if job.report.calibration.get("samples") == 1 and job.recipe.rewrites and not data.random:
        job.recipe = job.recipe.plain
        job.report.notes.append(ONE_SAMPLE)


def _loss_in_float32(job: Job) -> str | None:
    """Say what a model in float64 loses in float32; None where that is rounding alone."""
    types = file_types(job.model.graph)
    if types is None or types.dtype != ir.DataType.DOUBLE:
        return None
    try:
        verify(job.original, job.float_model, islice(job.parts.training, 1), rewrite="float32 in place of float64")
    except VerificationError as error:
        return f"the model needs float64: {str(error).removesuffix('; nothing was written')}"
    return None


def _collect(job: Job) -> None:
    report, data = job.report, job.parts.training
    with job.times("calibrate"):
        notes = Notes(job.model)
        rows = MANY_ROWS if any(fmt.weights.bitwidth < 8 for fmt in job.recipe.formats) else ROWS
        samples = collect(job.model, notes.watch(data), rows=rows, progress=partial(job.times.progress, "calibrate"))
        measure_activations(job.model, data)
    held_out = job.parts.samples
    report.calibration = {"source": data.origin, "samples": samples + held_out, "held_out": held_out}
    if drops := dropped_rows(job.model):
        report.calibration["dropped"] = drops
    report.notes += [] if data.random else notes.lines(samples)
    for note in report.notes:
        warnings.warn(note, CalibrationWarning, stacklevel=_CALLER)


def _data(calibration: Data | None, model: ir.Model, recipe: Recipe) -> Batches:
    if calibration is None and recipe.calibrated:
        warnings.warn(
            "no calibration data: ranges come from random inputs and the accuracy means nothing; "
            "pass real samples for real use",
            SyntheticCalibrationWarning,
            stacklevel=_CALLER,
        )
    try:
        return batches(calibration, model)
    except DataError as error:  # random inputs do not fit the model, and no range is to come from them
        if calibration is not None or recipe.calibrated:
            raise
        return Batches((), "none", str(error))
