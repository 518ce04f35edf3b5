"""How close one model's values are to another's: SQNR, cosine and largest error, per output and per layer.

SQNR = 10 log10( Σ y² / Σ (y - ŷ)² ) dB
"""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import onnx_ir as ir

from ..errors import DataError
from ..ir.linear import as_linear
from .feeds import Feed, fitted
from .outputs import layout, numbers
from .session import runner

CEILING = 200.0
"""SQNR in dB that stands for "equal": float64 has no more to say."""


@dataclass(frozen=True)
class Distance:
    """How far a candidate's value is from the reference's, over all feeds.

    ``sqnr`` in dB is the mean over feeds, ``cosine`` likewise; ``max_error`` is the largest absolute difference.
    """

    sqnr: float
    cosine: float
    max_error: float


@dataclass(frozen=True)
class Comparison:
    """Distances by name: of the graph's outputs, and of the linear layers that both models have."""

    outputs: dict[str, Distance] = field(default_factory=dict)
    layers: dict[str, Distance] = field(default_factory=dict)
    samples: int = 0

    def to_dict(self) -> dict[str, Any]:  # JSON: values of any plain type
        """Plain dictionaries and numbers."""
        return asdict(self)


def compare(
    reference: ir.Model,
    candidate: ir.Model,
    feeds: Iterable[Feed],
    *,
    layers: bool = True,
    optimized: bool = False,
) -> Comparison:
    """Run both models on the same feeds and measure every output, and every linear layer present in both.

    Args:
        reference: usually the float model.
        candidate: usually the quantized one.
        feeds: the data, of the reference's types.
        layers: also measure layers, by the names of their output values.
        optimized: let ONNX Runtime optimize both graphs; off, they run as they are written.

    Raises:
        DataError: the outputs differ in name or shape, or there are no feeds.
    """
    names = [value.name or "" for value in reference.graph.outputs]
    if sorted(names) != sorted(value.name or "" for value in candidate.graph.outputs):
        raise DataError(f"the models have different outputs: {names} and {[v.name for v in candidate.graph.outputs]}")
    taps = common_layers(reference, candidate) if layers else []
    columns = [name for name in taps if name not in names]
    expected, actual = (runner(model, columns, optimized=optimized) for model in (reference, candidate))
    order = [value.name or "" for value in candidate.graph.outputs]
    measured: dict[str, list[Distance]] = {name: [] for name in [*names, *columns]}
    for feed in feeds:
        wanted = dict(zip([*names, *columns], expected(feed), strict=True))
        for name, value in zip([*order, *columns], actual(fitted(feed, candidate)), strict=True):
            measured[name].append(distance(wanted[name], value, name))
    if not measured or not next(iter(measured.values())):
        raise DataError("evaluation data: holds no samples")
    total = {name: _mean(found) for name, found in measured.items()}
    return Comparison(
        {name: total[name] for name in names},
        {name: total[name] for name in taps},
        len(next(iter(measured.values()))),
    )


def common_layers(reference: ir.Model, candidate: ir.Model) -> list[str]:
    """Names of the outputs of the reference's linear nodes that the candidate computes too, in graph order."""
    present = {value.name for node in candidate.graph for value in node.outputs}
    outputs = (linear.output.name or "" for node in reference.graph if (linear := as_linear(node)))
    return [name for name in outputs if name in present]


def distance(expected: object, actual: object, name: str = "value") -> Distance:
    """The distance between two arrays of one shape, or between the numbers in two sequences of such.

    Raises:
        DataError: the shapes differ.
    """
    if layout(expected) != layout(actual):
        raise DataError(f"{name!r} has shape {layout(expected)} in one model and {layout(actual)} in the other")
    y, z = numbers(expected), numbers(actual)
    noise, signal = float(np.square(y - z).sum()), float(np.square(y).sum())
    norms = float(np.sqrt(signal) * np.linalg.norm(z))
    return Distance(
        sqnr=_decibels(signal, noise),
        cosine=float(y @ z) / norms if norms else float(noise == 0),
        max_error=float(np.abs(y - z).max(initial=0.0)),
    )


def _decibels(signal: float, noise: float) -> float:
    if noise == 0:
        return CEILING
    return min(CEILING, 10 * float(np.log10(signal / noise))) if signal else -CEILING


def _mean(found: Sequence[Distance]) -> Distance:
    return Distance(
        float(np.mean([item.sqnr for item in found])),
        float(np.mean([item.cosine for item in found])),
        max(item.max_error for item in found),
    )
