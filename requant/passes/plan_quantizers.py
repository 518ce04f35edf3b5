"""The plan: which values get which quantizer, whatever the engine.

x ≈ s · clip(round(x / s), -128, 127)      one s for an activation, one for each output channel of a weight
"""

from dataclasses import dataclass
from fnmatch import fnmatchcase

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from ..calib.collect import statistics
from ..calib.ranges import RANGES, Interval, minmax, symmetric_scale
from ..ir.linear import Linear, find_linears
from ..ir.rebase import Basis
from .loss import loss
from .observation import Observation, observe_reading

QUANTIZER = "requant.quantizer"
"""Key of a value's quantizer in `Value.meta`."""

KEPT = "requant.kept"
"""Key in `Node.meta` of the reason why a linear node stays in float on every target."""

FRACTIONS = (1.0, 0.95, 0.9, 0.85, 0.8, 0.7, 0.6, 0.5)
"""How much of the min-max interval "search" considers covering, the safest first."""

_MASK = 1e30
"""Magnitudes beyond this are attention masks or overflow, never activations worth a code."""


@dataclass(frozen=True)
class Quantizer:
    """A symmetric quantizer: codes of ``bits`` bits, zero point 0, a scalar scale or one for each index of ``axis``."""

    scale: NDArray[np.float32]
    axis: int | None = None
    bits: int = 8


@dataclass(frozen=True)
class PlanQuantizers(ir.passes.InPlacePass):
    """Give a quantizer to the data and the weight of every linear layer, or note why it stays in float.

    Attributes:
        keep: names or glob patterns of nodes that stay in float.
        ranges: how activations' ranges are estimated: "search" for the one of least error at the readers' outputs, or
            a key of `requant.calib.ranges.RANGES`.
        bits: width of the codes.
    """

    keep: tuple[str, ...] = ()
    ranges: str = "search"
    bits: int = 8

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        reading: dict[ir.Value, list[Linear]] = {}
        for linear in find_linears(model.graph):
            if reason := self._reason(linear):
                linear.node.meta[KEPT] = reason
            else:
                reading.setdefault(linear.data, []).append(linear)
        for value, linears in reading.items():
            value.meta[QUANTIZER] = self._activation(value, linears)
            for linear in linears:
                linear.weight.meta[QUANTIZER] = weight_quantizer(linear, self.bits)
        return ir.passes.PassResult(model, bool(reading))

    def _activation(self, value: ir.Value, linears: list[Linear]) -> Quantizer:
        seen = statistics(value)
        assert seen is not None
        if self.ranges == "search":
            low, high = searched(observe_reading(linears, seen), self.bits)
        else:
            low, high = RANGES[self.ranges](seen)
        return Quantizer(np.asarray(symmetric_scale(low, high, self.bits), np.float32), bits=self.bits)

    def _reason(self, linear: Linear) -> str:
        seen = statistics(linear.data)
        if any(fnmatchcase(linear.name, pattern) for pattern in self.keep):
            return "kept by request"
        if seen is None:
            return "its input was not calibrated"
        if seen.magnitude.max() > _MASK:
            return "its input holds an attention mask"
        if linear.data.dtype != ir.DataType.FLOAT:
            return f"its input is {linear.data.dtype}, not float32"
        return ""


def searched(observation: Observation, bits: int = 8) -> Interval:
    """The fraction of the min-max interval at which the readers' quantized outputs are closest to the float ones."""
    unchanged = Basis.identity(observation.channels)
    covered = min(FRACTIONS, key=lambda fraction: loss(observation, unchanged, bits, covered=fraction))
    low, high = minmax(observation.statistics)
    return low * covered, high * covered


def quantizer(value: ir.Value | None) -> Quantizer | None:
    """The quantizer planned for ``value``, or None."""
    found = value.meta.get(QUANTIZER) if value is not None else None
    return found if isinstance(found, Quantizer) else None


def weight_quantizer(linear: Linear, bits: int = 8) -> Quantizer:
    """A scale for each output channel: its largest |w| over 2^(b-1) - 1, or 1 for a channel of zeros."""
    tensor = linear.weight.const_value
    assert tensor is not None
    data = np.abs(tensor.numpy().astype(np.float32, copy=False))
    rest = tuple(axis for axis in range(data.ndim) if axis != linear.out_axis)
    largest = data.max(axis=rest)
    scale = np.where(largest > 0, largest, 2 ** (bits - 1) - 1) / np.float32(2 ** (bits - 1) - 1)
    return Quantizer(np.maximum(scale, np.finfo(np.float32).tiny).astype(np.float32), linear.out_axis, bits)
