"""What passes did and declined, kept on the model for the report."""

from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

SITES = "requant.sites"
LAYERS = "requant.layers"


@dataclass(frozen=True)
class SiteRecord:
    """One site, transformed or not: who took part, what was chosen and what it was worth.

    ``error_before`` and ``error_after`` are the consumers' relative squared error (`requant.passes.cost_model.loss`).
    ``reason`` is empty when the site was transformed.
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


@dataclass(frozen=True)
class LayerRecord:
    """One linear layer, whose output is the value ``output``: quantized, and how, or left in float and why."""

    name: str
    op_type: str
    weight_shape: tuple[int, ...]
    output: str
    quantized: bool
    reason: str = ""
    coded: str = ""


def site_records(model: ir.Model) -> tuple[SiteRecord, ...]:
    """What passes recorded about the sites of ``model``, in the order of the passes."""
    found = model.meta.get(SITES, ())
    return found if isinstance(found, tuple) else ()


def layer_records(model: ir.Model) -> tuple[LayerRecord, ...]:
    """What the lowering recorded about the linear layers of ``model``, in graph order."""
    found = model.meta.get(LAYERS, ())
    return found if isinstance(found, tuple) else ()


def summary(values: NDArray[np.float64]) -> dict[str, float]:
    """Smallest, median and largest of ``values``."""
    return {"min": float(values.min()), "median": float(np.median(values)), "max": float(values.max())}
