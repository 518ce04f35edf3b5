"""What an engine makes of a quantized model, beside what it makes of the float one."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from math import isfinite, nan
from typing import Any

import onnx_ir as ir

from .baseline import as_reference, reference_type, without_quantizers
from .choices import require_choice
from .errors import TargetError
from .ir.load import Source, describe, load
from .runtime.benchmark import benchmark
from .runtime.check import Finding, check
from .runtime.feeds import random_feed
from .runtime.profiles import Profiles, usual_shapes
from .runtime.tally import SessionTally, Tally, require_tally, tally
from .runtime.tally_findings import tally_findings
from .runtime.targets import target as find_target
from .runtime.trt.roofline import GPUS, microseconds

RUNS, WARMUP, PAUSE = 20, 2, 0.1
"""Runs of each model that are timed and those before them, and the seconds before each."""

FEWEST, SECONDS = 5, 10.0
"""Timed runs at least, and the time for more."""


@dataclass(frozen=True)
class BuildOptions:
    """What engines are built for.

    On a processor nothing is built: ONNX Runtime runs the usual shapes of ``profiles``.

    Attributes:
        capability: "tensorrt-rtx" alone: the compute capability, such as "8.9"; empty is that of ``gpu``, of this
            machine's GPU, or 8.9.
        profiles: for each dynamic input its smallest, usual and largest shape.
        gpu: a key of `requant.runtime.trt.roofline.GPUS` to estimate times for; empty for none.
        threads: on a processor alone: those of a session; 0 lets ONNX Runtime choose.
    """

    capability: str = ""
    profiles: Profiles = field(default_factory=dict)
    gpu: str = ""
    threads: int = 0

    def __post_init__(self) -> None:
        """Raise TargetError for a GPU that is not in the table."""
        if self.gpu:
            require_choice("GPU", self.gpu, GPUS, TargetError)

    def require(self, target: str) -> None:
        """Require that the kernels of ``target`` can be counted here, with these options.

        Raises:
            TargetError: they cannot.
        """
        require_tally(target, capability=self.capability, gpu=self.gpu, threads=self.threads)

    def count(self, model: ir.Model, target: str) -> Tally:
        """Build an engine of ``model`` and count its kernels; see `requant.runtime.tally`."""
        own = GPUS[self.gpu].capability if self.gpu and target == "tensorrt-rtx" else ""
        return tally(model, target, capability=self.capability or own, profiles=self.profiles, threads=self.threads)


@dataclass(frozen=True)
class BuildCheck:
    """An engine's kernels beside those of a ``baseline``, and where it is not what the graph plans.

    ``findings`` are those of the rules and of the tally. ``gpu`` is the one that times are estimated for, if any,
    ``reference`` what the baseline is, and ``milliseconds`` what a run of each takes where it was measured.
    """

    tally: Tally
    baseline: Tally
    findings: list[Finding]
    gpu: str = ""
    reference: str = "float16"
    milliseconds: tuple[float, ...] = ()

    @property
    def traffic(self) -> float:
        """The bytes that the kernels move, over those of the baseline's; NaN where shapes are dynamic."""
        return self.tally.megabytes / self.baseline.megabytes if self.baseline.megabytes else nan

    @property
    def microseconds(self) -> tuple[float, ...]:
        """The estimated times of the engine and of the baseline; empty without a GPU to estimate for."""
        return (
            tuple(microseconds(side.kernels, GPUS[self.gpu]) for side in (self.tally, self.baseline))
            if self.gpu
            else ()
        )

    @property
    def formats(self) -> str:
        """The formats that layers are planned in, of weights alone too; empty where all are in float."""
        names = (product.format or product.weight for product in self.tally.products)
        return " and ".join(sorted(set(filter(None, names))))

    @property
    def loss(self) -> str:
        """A line that says that the quantized model is not worth it, by time or else by bytes; empty if it is.

        What was measured decides, or the estimate: both have the bytes and the operations.
        """
        (ours, theirs), unit = self._costs
        if not self.formats or not ours > theirs:
            return ""
        numbers = f"{ours:.4g} {unit} against {theirs:.4g}"
        return f"{self.formats} does not pay here: {numbers}; take {self.reference}"

    @property
    def _costs(self) -> tuple[tuple[float, ...], str]:
        if self.gpu and all(map(isfinite, self.microseconds)):
            return self.microseconds, f"µs estimated on {GPUS[self.gpu].title}"
        if self.milliseconds:
            return self.milliseconds, "ms"
        return (self.tally.megabytes, self.baseline.megabytes), "MB"

    def to_dict(self) -> dict[str, Any]:  # JSON: values of any plain type
        """Return plain dictionaries, lists and numbers."""
        return {
            "tally": self.tally.to_dict(),
            "baseline": self.baseline.to_dict(),
            "reference": self.reference,
            "traffic": self.traffic,
            "gpu": self.gpu,
            "estimated_microseconds": list(self.microseconds),
            "milliseconds": list(self.milliseconds),
            "loss": self.loss,
            "findings": [finding.to_dict() for finding in self.findings],
        }


def check_build(
    source: Source,
    target: str = "tensorrt-rtx",
    options: BuildOptions | None = None,
    *,
    against: Source | None = None,
) -> BuildCheck:
    """Build the engine, and compare its kernels with the plan and with those of the float model.

    On a processor nothing is built: ONNX Runtime runs both models, in turns, and lists what it runs.

    Args:
        source: as `requant.optimize` takes it.
        target: "tensorrt", "tensorrt-rtx", or a processor of this machine's kind, such as "cpu".
        options: what to build for.
        against: the model to compare with, for TensorRT in float16 if it is in float32; None is ``source`` without its
            quantizers. Where ``source`` has nodes that an exact rewrite inserted, these stay.

    Raises:
        SourceError: a model cannot be read.
        TargetError, BuildError: as `requant.runtime.tally`.
    """
    engine, options = find_target(target), options or BuildOptions()
    options.require(target)
    model = load(source)
    if against is None:
        return compare_builds(model, without_quantizers(model, engine), target, options)
    result = compare_builds(model, as_reference(load(against), engine), target, options)
    return replace(result, reference=describe(against))


def compare_builds(model: ir.Model, baseline: ir.Model, target: str, options: BuildOptions) -> BuildCheck:
    """Build engines of ``model`` and of the ``baseline``, and compare them; see `check_build`."""
    result, other = options.count(model, target), options.count(baseline, target)
    findings = [*check(model, target), *tally_findings(result)]
    reference = reference_type(find_target(target))
    compared = BuildCheck(result, other, findings, options.gpu, reference)
    if not (isinstance(result, SessionTally) and isinstance(other, SessionTally)):
        return compared
    turn = 2 * PAUSE + (result.milliseconds + other.milliseconds) / 1e3
    runs = min(RUNS, max(FEWEST, int(SECONDS / (turn or SECONDS))))
    return replace(compared, milliseconds=_milliseconds([model, baseline], target, options, runs))


def _milliseconds(models: Sequence[ir.Model], target: str, options: BuildOptions, runs: int) -> tuple[float, ...]:
    """Measure runs of ``models``, which take turns; return the medians."""
    feed = random_feed(models[0], usual_shapes(options.profiles))
    named = {str(index): model for index, model in enumerate(models)}
    latencies = benchmark(named, [feed], target, runs=runs, warmup=WARMUP, threads=options.threads, pause=PAUSE)
    return tuple(latency.median for latency in latencies)
