"""The measurement: how far the artifact is from the float model, on data that set nothing wherever that can be had."""

from collections.abc import Callable, Iterator
from itertools import islice

import onnx_ir as ir

from .calib.holdout import Split
from .calib.sample_axes import count_samples, sample_axes
from .calib.sources import RANDOM, batches
from .errors import SourceError
from .planning import Task
from .report import Report
from .runtime.compare import compare, require_finite
from .runtime.feeds import Feed

MEASURED_SAMPLES = 4

BATCHES = "data quantized at run time have one scale for all of a batch: larger batches than those measured lose more"


def judges(task: Task, parts: Split, report: Report) -> Iterator[Feed]:
    """Iterate over the feeds to measure on: the user's, those held out, or the first of the calibration data."""
    if task.evaluation is not None:
        data = batches(task.evaluation, task.model)
        report.measured_on, feeds = f"samples of {data.origin}", iter(data)
    elif parts.held_out is not None:
        report.measured_on, feeds = "held-out samples", iter(parts.held_out)
    else:
        report.measured_on, feeds = "samples of the calibration data itself", islice(parts.training, MEASURED_SAMPLES)
    axes, report.measured_samples = sample_axes(task.model), 0
    for feed in feeds:
        report.measured_samples += count_samples(feed, axes)
        yield feed


def measure(
    reference: ir.Model, lowered: ir.Model, feeds: Callable[[], Iterator[Feed]], report: Report, *, random: bool
) -> None:
    """Compare the artifact with the float model and keep that in the report.

    Raises:
        VerificationError: the artifact computes NaN or infinity where the float model does not.
    """
    try:
        found = compare(reference, lowered, feeds())
    except SourceError as error:  # ONNX Runtime has no kernel for a few ops of the opset that half precision needs
        if report.measured_in == "float32":
            raise
        report.message = f"not measured: {error}"
    else:
        require_finite(found)
        if report.target == "cpu" and report.precision == "float32":  # kernels that fuse nodes may round data again
            require_finite(compare(reference, lowered, feeds(), layers=False, optimized=True), " in a default session")
        if random:
            report.message = RANDOM
            return
        report.outputs, report.layer_distances, report.unmeasured = found.outputs, found.layers, found.unmeasured
        if any("dynamic" in layer.format for layer in report.layers):
            report.notes.append(BATCHES)
        if not found.outputs:
            report.message = f"not measured: {'; '.join(found.unmeasured.values())}"
