"""Records of what passes did and declined, kept on the model for the report (`requant.passes.annotations`)."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class SiteRecord:
    """A site, transformed or not: its values and consumers, the transform, and the error with and without it.

    ``error_before`` and ``error_after`` are the consumers' relative squared error (`requant.passes.cost_model.loss`).
    ``reason`` is empty when the site was transformed. ``shift_blocked`` is the reason why its channels are not shifted;
    empty where they may be, and where the site was not looked at.
    """

    pass_name: str
    kind: str
    name: str
    values: tuple[str, ...] = ()
    consumers: tuple[str, ...] = ()
    restored: int = 0
    solver: str = ""
    scale: dict[str, float] = field(default_factory=dict)
    shift: dict[str, float] = field(default_factory=dict)
    error_before: float | None = None
    error_after: float | None = None
    added_nodes: int = 0
    reason: str = ""
    shift_blocked: str = ""


AS_IN_FILE = "as in the file"
"""The format of a layer that the file has quantized."""


@dataclass(frozen=True)
class LayerRecord:
    """A linear layer, whose output is the value ``output``: quantized in ``format``, or in float for a ``reason``.

    ``format`` is `AS_IN_FILE` where the layer was quantized before. ``note`` is the reason why it is not in the form in
    which the engine is fastest.
    """

    name: str
    op_type: str
    weight_shape: tuple[int, ...]
    output: str
    quantized: bool
    reason: str = ""
    format: str = ""
    note: str = ""

    @property
    def planned(self) -> bool:
        """True where the plan quantizes the layer, and not the file."""
        return self.quantized and self.format != AS_IN_FILE


@dataclass(frozen=True)
class PrecisionRecord:
    """A node that stayed in float32, and why."""

    name: str
    op_type: str
    reason: str


def summary(values: NDArray[np.float64]) -> dict[str, float]:
    """Return the smallest, median and largest of ``values``."""
    return {"min": float(values.min()), "median": float(np.median(values)), "max": float(values.max())}
