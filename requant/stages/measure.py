"""The seventh stage: measure the artifact against the float model, on held-out data wherever there are enough."""

from collections.abc import Callable, Iterator
from functools import partial
from itertools import islice

import onnx_ir as ir

from ..calib.sample_axes import count_samples, sample_axes
from ..calib.sources import RANDOM, batches
from ..errors import SourceError
from ..lowering import runnable
from ..report import Report
from ..runtime.compare import compare, require_finite
from ..runtime.feeds import Feed
from .job import Job

MEASURED_SAMPLES = 4

BATCHES = "data quantized at run time have one scale for all of a batch: larger batches than those measured lose more"


POOR = 20.0
"""Decibels below which a note says so: the error is a tenth of the output."""


def measure_artifact(job: Job) -> None:
    """Compare the artifact with the float model, and keep the distances in the report.

    Raises:
        VerificationError: the artifact computes NaN or infinity where the float model does not.
    """
    report, data, lowering = job.report, job.parts.training, job.lowering.measurable
    report.measured_in = str(lowering.precision)
    with job.times("measure"):
        if data.missing and job.evaluation is None:
            report.message = f"neither verified nor measured: {data.missing}"
            return
        random = data.random and job.evaluation is None
        measure = partial(_measure, job.reference, feeds=partial(_judges, job), report=report, random=random)
        try:
            measure(runnable(job.artifact if lowering == job.lowering else lowering.apply(job.model, report)))
        except SourceError:  # ONNX Runtime has no kernel for a few ops of the opset that half precision needs
            if report.measured_in == "float32":
                raise
            report.measured_in = "float32"
            measure(runnable(lowering.in_float32.apply(job.model, report)))
        least = job.limits.min_sqnr
        report.notes += [
            f"output {name!r} has {distance.sqnr:.1f} dB on {report.measured_on}, less than min_sqnr={least:g}"
            for name, distance in report.outputs.items()
            if least is not None and distance.sqnr < least
        ]


def _judges(job: Job) -> Iterator[Feed]:
    """Iterate over the feeds to measure on: the caller's, those held out, or the first of the calibration data."""
    report = job.report
    if job.evaluation is not None:
        data = batches(job.evaluation, job.model)
        report.measured_on, feeds = f"samples of {data.origin}", iter(data)
    elif job.parts.held_out is not None:
        report.measured_on, feeds = "held-out samples", iter(job.parts.held_out)
    else:
        first = islice(job.parts.training, job.most_held_out if job.limits else MEASURED_SAMPLES)
        report.measured_on, feeds = "samples of the calibration data itself", first
    axes, report.measured_samples = sample_axes(job.model), 0
    for feed in feeds:
        report.measured_samples += count_samples(feed, axes)
        yield feed


def _measure(
    reference: ir.Model, artifact: ir.Model, feeds: Callable[[], Iterator[Feed]], report: Report, *, random: bool
) -> None:
    comparison = compare(reference, artifact, feeds())
    require_finite(comparison)
    if report.target == "cpu" and report.precision == "float32":  # kernels that fuse nodes may round data again
        require_finite(compare(reference, artifact, feeds(), layers=False, optimized=True), " in a default session")
    if random:
        report.message = RANDOM
        return
    report.outputs, report.layer_distances = comparison.outputs, comparison.layers
    report.unmeasured = comparison.unmeasured
    report.notes += [
        f"output {name!r} has {distance.sqnr:.1f} dB, less than {POOR:g}: keep layers in float, or give more data"
        for name, distance in comparison.outputs.items()
        if distance.sqnr < POOR
    ]
    if any("dynamic" in layer.format for layer in report.layers):
        report.notes.append(BATCHES)
    if not comparison.outputs:
        report.message = f"not measured: {'; '.join(comparison.unmeasured.values())}"
