"""What an engine's builder makes of a quantized model, beside what it makes of the float16 one."""

from dataclasses import dataclass, field, replace
from math import isfinite
from typing import Any

import onnx_ir as ir

from .baseline import as_reference, without_quantizers
from .choices import require_choice
from .errors import TargetError
from .ir.load import Source, describe, load
from .runtime.check import Finding, check
from .runtime.profiles import Profiles
from .runtime.tally import Tally, tally
from .runtime.tally_findings import tally_findings
from .runtime.targets import target as find_target
from .runtime.trt.roofline import GPUS


@dataclass(frozen=True)
class BuildOptions:
    """What engines are built for.

    Attributes:
        capability: "tensorrt-rtx" alone: the compute capability, such as "8.9"; empty is that of ``gpu``, of this
            machine's GPU, or 8.9.
        profiles: for each dynamic input its smallest, usual and largest shape.
        gpu: a key of `requant.runtime.trt.roofline.GPUS` to estimate times for; empty for none.
    """

    capability: str = ""
    profiles: Profiles = field(default_factory=dict)
    gpu: str = ""

    def __post_init__(self) -> None:
        """Raise TargetError for a GPU that is not in the table."""
        if self.gpu:
            require_choice("GPU", self.gpu, GPUS, TargetError)

    def count(self, model: ir.Model, target: str) -> Tally:
        """Build an engine of ``model`` and count its kernels; see `requant.runtime.tally`."""
        own = GPUS[self.gpu].capability if self.gpu and target == "tensorrt-rtx" else ""
        return tally(model, target, capability=self.capability or own, profiles=self.profiles)


@dataclass(frozen=True)
class BuildCheck:
    """An engine's kernels beside those of a ``baseline``, and where it is not what the graph plans.

    ``findings`` are those of the rules and of the tally. ``gpu`` is the one that times are estimated for, if any, and
    ``reference`` what the baseline is.
    """

    tally: Tally
    baseline: Tally
    findings: list[Finding]
    gpu: str = ""
    reference: str = "float16"

    @property
    def traffic(self) -> float:
        """The bytes that the kernels move, over those of the baseline's; NaN where shapes are dynamic."""
        return self.tally.megabytes / self.baseline.megabytes

    @property
    def microseconds(self) -> tuple[float, ...]:
        """The estimated times of the engine and of the baseline; empty without a GPU to estimate for."""
        return tuple(side.microseconds(GPUS[self.gpu]) for side in (self.tally, self.baseline)) if self.gpu else ()

    @property
    def formats(self) -> str:
        """The formats that layers are planned in, of weights alone too; empty where all are in float."""
        names = (product.format or product.weight for product in self.tally.products)
        return " and ".join(sorted(set(filter(None, names))))

    @property
    def loss(self) -> str:
        """A line that says that the quantized model is not worth it, by the estimate or else by bytes; empty if it is.

        The estimate decides where there is one: it has the bytes and the operations.
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
    """Build the engine, and compare the builder's kernels with the plan and with those of the float16 model.

    Args:
        source: as `requant.optimize` takes it.
        target: "tensorrt" or "tensorrt-rtx".
        options: what to build for.
        against: the model to compare with, in float16 if it is in float32; None is ``source`` without its quantizers.
            Where ``source`` has nodes that an exact rewrite inserted, these stay.

    Raises:
        SourceError: a model cannot be read.
        TargetError, BuildError: as `requant.runtime.tally`.
    """
    engine, model = find_target(target), load(source)
    if against is None:
        return compare_builds(model, without_quantizers(model, engine), target, options or BuildOptions())
    result = compare_builds(model, as_reference(load(against), engine), target, options or BuildOptions())
    return replace(result, reference=describe(against))


def compare_builds(model: ir.Model, baseline: ir.Model, target: str, options: BuildOptions) -> BuildCheck:
    """Build engines of ``model`` and of the ``baseline``, and compare them; see `check_build`."""
    result = options.count(model, target)
    findings = [*check(model, target), *tally_findings(result)]
    return BuildCheck(result, options.count(baseline, target), findings, options.gpu)
