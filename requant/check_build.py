"""What an engine's builder makes of a quantized model, beside what it makes of the float16 one."""

from dataclasses import dataclass
from typing import Any

from .baseline import baseline
from .ir.load import Source, load
from .runtime.check import Finding, check
from .runtime.profiles import Profiles
from .runtime.tally import Tally, tally
from .runtime.targets import target as find_target


@dataclass(frozen=True)
class BuildCheck:
    """What an engine's builder makes of a model, beside its float16 ``baseline``.

    ``findings`` are those of the rules and of the tally.
    """

    tally: Tally
    baseline: Tally
    findings: list[Finding]

    @property
    def traffic(self) -> float:
        """The bytes that the kernels move, over those of the baseline's."""
        return self.tally.megabytes / self.baseline.megabytes

    def to_dict(self) -> dict[str, Any]:  # JSON: values of any plain type
        """Return plain dictionaries, lists and numbers."""
        return {
            "tally": self.tally.to_dict(),
            "baseline": self.baseline.to_dict(),
            "traffic": self.traffic,
            "findings": [finding.to_dict() for finding in self.findings],
        }


def check_build(
    source: Source,
    target: str = "tensorrt-rtx",
    *,
    capability: str = "",
    profiles: Profiles | None = None,
    against: Source | None = None,
) -> BuildCheck:
    """Build the engine, and compare the builder's kernels with the plan and with those of the float16 model.

    Args:
        source: as `optimize` takes it.
        target: "tensorrt" or "tensorrt-rtx".
        capability, profiles: as `requant.runtime.tally` takes them.
        against: the model to compare with; None is ``source`` without its quantizers, in float16.

    Raises:
        SourceError: a model cannot be read.
        TargetError: as `requant.runtime.tally`.
    """
    engine, model = find_target(target), load(source)
    result = tally(model, target, capability=capability, profiles=profiles)
    reference = baseline(model, engine) if against is None else load(against)
    other = tally(reference, target, capability=capability, profiles=profiles)
    return BuildCheck(result, other, [*check(model, target), *result.findings])
