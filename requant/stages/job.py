"""One call of `requant.optimize`: what it asks for, and what its stages have made so far."""

import os
from dataclasses import dataclass, field

import onnx_ir as ir

from ..calib.holdout import Split
from ..calib.sources import Data
from ..check_build import BuildOptions
from ..ir.formats import Format
from ..ir.load import Source
from ..progress import Stopwatch
from ..recipe import Recipe
from ..report import Report
from ..result import Lowering


@dataclass
class Job:
    """A model to quantize, the data, and what to make of them.

    Attributes:
        source, calibration, recipe, lowering, keep, completes, evaluation, min_sqnr: what the call asks for; see
            `requant.optimize`, where ``completes`` is called ``finish``.
        attention: the format for the products of attention, None for float.
        attention_open: whether another format than ``attention`` may be taken where it loses nothing.
        keep_count: how many layers that cost the outputs most are to stay in float.
        output, report_file: where to write, None for nowhere.
        build: what to build engines for and count their kernels, None for no build.
        times: told of each stage.
        report: what is reported, filled stage by stage.
        original: the model as it came.
        float_model: the original in float32, if its layers are in another floating-point type; else itself.
        model: the model in canonical form, then with statistics, then with the plan's transforms and quantizers.
        reference: the model in canonical form, in float, to judge by.
        parts: the calibration data, and what is held out of them.
        unplanned: the model with all that was measured on it, before it was planned.
        planned_by: the recipe of the plan that was taken: that of the call, or the plain one.
        artifact: the model for the engine.
        finished: nothing is left to do; the stages that follow are skipped.
    """

    source: Source
    calibration: Data | None
    recipe: Recipe
    lowering: Lowering
    keep: tuple[str, ...]
    completes: bool
    evaluation: Data | None
    output: str | os.PathLike[str] | None
    report_file: str | os.PathLike[str] | None
    build: BuildOptions | None
    times: Stopwatch
    min_sqnr: float | None = None
    keep_count: int = 0
    attention: Format | None = None
    attention_open: bool = False
    report: Report = field(init=False)
    original: ir.Model = field(init=False)
    float_model: ir.Model = field(init=False)
    model: ir.Model = field(init=False)
    reference: ir.Model = field(init=False)
    parts: Split = field(init=False)
    unplanned: ir.Model = field(init=False)
    planned_by: Recipe = field(init=False)
    artifact: ir.Model = field(init=False)
    finished: bool = False

    @property
    def calibrated(self) -> bool:
        """Tell whether ranges come from data, real or random."""
        return self.calibration is not None or self.recipe.calibrated

    def finish(self, message: str) -> None:
        """End the job with the original as its artifact."""
        self.report.message, self.artifact, self.finished = message, self.original, True
