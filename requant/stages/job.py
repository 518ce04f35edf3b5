"""One call of `requant.optimize`: what it asks for, and what its stages have made so far."""

import os
from copy import copy
from dataclasses import dataclass, field

import onnx_ir as ir

from ..calib.holdout import MOST, MOST_FOR_METRIC, Split
from ..calib.sources import Data
from ..check_build import BuildOptions
from ..effort import EFFORTS, Effort
from ..ir.formats import Format
from ..ir.load import Source
from ..limits import NO_LIMITS, Limits
from ..lowering import Lowering, runnable
from ..metrics import Metric
from ..passes.cost_model.program import Picks
from ..progress import Stopwatch
from ..recipe import Recipe
from ..report import Report
from .judge import Judge, Measurement
from .judging_samples import judging_samples
from .parts import Parts


@dataclass(frozen=True)
class PlannedAnew:
    """A job that was planned without work for some layers, and what was measured on its plan.

    ``difference`` is the largest that a rewrite made, ``size`` the bytes of the artifact, ``is_quantized`` whether a
    layer of it is in int8.
    """

    job: "Job"
    difference: float
    measurement: Measurement
    size: int
    is_quantized: bool


@dataclass
class PlanMemory:
    """What was measured on the plan of a job, for all limits alike.

    ``plan`` was measured as it is; ``measured`` has each choice for the parts that was tried, ``sizes`` the bytes of
    its artifact. ``finer`` are the numbers of the regions between one of the parts' own and the next. ``planned_anew``
    has plans without work for some layers, by the places of these.
    """

    judge: Judge | None = None
    parts: Parts | None = None
    plan: Measurement | None = None
    measured: dict[Picks, Measurement] = field(default_factory=dict)
    sizes: dict[Picks, int] = field(default_factory=dict)
    finer: dict[int, list[int]] = field(default_factory=dict)
    planned_anew: dict[frozenset[int], PlannedAnew] = field(default_factory=dict)


@dataclass
class Job:
    """A model to quantize, the data, and what to make of them.

    Attributes:
        source, calibration, recipe, lowering, keep, completes, evaluation, limits, metric, labels, effort: what the
            call asks for; see `requant.optimize`, where ``completes`` is called ``finish``.
        attention: the format for the products of attention, None for float.
        attention_open: whether another format than ``attention`` may be taken where it loses little.
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
        memory: what was measured on the plan, which the jobs of other limits share.
        unplanned: the model with all that was measured on it, before it was planned.
        planned_by: the recipe of the plan that was taken: that of the call, or the plain one.
        artifact: the model for the engine.
        finished: nothing is left to do; the stages that follow are skipped.
    """

    source: Source
    calibration: Data | None
    recipe: Recipe
    lowering: Lowering
    completes: bool
    evaluation: Data | None
    output: str | os.PathLike[str] | None
    report_file: str | os.PathLike[str] | None
    build: BuildOptions | None
    times: Stopwatch
    keep: tuple[str, ...] = ()
    keep_count: int = 0
    attention: Format | None = None
    attention_open: bool = False
    limits: Limits = NO_LIMITS
    metric: Metric | None = None
    labels: object = None
    effort: Effort = EFFORTS["normal"]
    memory: PlanMemory = field(default_factory=PlanMemory)
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

    @property
    def most_held_out(self) -> int:
        """The most samples to hold out and to judge on."""
        return MOST if self.metric is None else MOST_FOR_METRIC

    @property
    def judge(self) -> Judge:
        """The judge of plans, from calibration on.

        Raises:
            DataError: the labels do not fit the calibration data.
        """
        if self.memory.judge is None:
            samples = judging_samples(self.parts, self.model, self.metric, self.most_held_out)
            self.memory.judge = Judge(self.reference, self._artifact, samples, self.metric)
        return self.memory.judge

    def _artifact(self, plan: ir.Model) -> ir.Model:
        return runnable(self.lowering.measurable.apply(plan, self.report))

    def with_limits(self, limits: Limits) -> "Job":
        """Return a job that begins where this one is, with other ``limits`` and a report of its own."""
        other = copy(self)
        other.limits, other.output, other.report_file, other.build = limits, None, None, None
        return other.separated()

    def separated(self) -> "Job":
        """Return a copy whose stages leave this job as it is."""
        other = copy(self)
        other.report = self.report.copied()
        other.times = Stopwatch(self.times.progress, dict(self.times.seconds))
        return other
