"""The plan: which values get which quantizer, whatever the engine.

x ≈ s · clip(round(x / s), -128, 127)      one s for an activation, one for each output channel of a weight
"""

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from ..calib.collect import statistics
from ..calib.ranges import RANGES, symmetric_scale
from ..calib.statistics import ChannelStatistics
from ..ir.linear import Linear, find_linears
from .choose_layers import KEPT

QUANTIZER = "requant.quantizer"
"""Key of a value's quantizer in `Value.meta`."""

_MASK = 1e30
"""Magnitudes beyond this are attention masks or overflow, never activations worth a code."""


@dataclass(frozen=True)
class Quantizer:
    """A symmetric quantizer: codes of ``bits`` bits, zero point 0, a scalar scale or one for each index of ``axis``.

    ``codes`` are those of a constant, in its shape, or None for the nearest ones.
    """

    scale: NDArray[np.float32]
    axis: int | None = None
    bits: int = 8
    codes: NDArray[np.int8] | None = None


@dataclass(frozen=True)
class PlanQuantizers(ir.passes.InPlacePass):
    """Give a quantizer to the data and the weight of every linear layer, or note why it stays in float.

    Layers that `ChooseLayers` keeps are left alone. Needs statistics (`requant.calib.collect`).

    Attributes:
        ranges: how activations' ranges are estimated, a key of `requant.calib.ranges.RANGES`.
        bits: width of the codes.
    """

    ranges: str = "minmax"
    bits: int = 8

    def requires(self, model: ir.Model) -> None:
        """Raise PreconditionError when the model was not calibrated."""
        linears = list(find_linears(model.graph))
        if linears and not any(statistics(linear.data) for linear in linears):
            raise ir.passes.PreconditionError("no statistics: run requant.calib.collect(model, feeds) first")

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        planned = False
        for linear in find_linears(model.graph):
            seen = statistics(linear.data)
            if reason := linear.node.meta.get(KEPT) or _reason(linear, seen):
                linear.node.meta[KEPT] = reason
            elif seen is not None:
                linear.data.meta[QUANTIZER] = self._activation(seen)
                linear.weight.meta[QUANTIZER] = weight_quantizer(linear, self.bits)
                planned = True
        return ir.passes.PassResult(model, planned)

    def _activation(self, seen: ChannelStatistics) -> Quantizer:
        low, high = RANGES[self.ranges](seen)
        return Quantizer(np.asarray(symmetric_scale(low, high, self.bits), np.float32), bits=self.bits)


def _reason(linear: Linear, seen: ChannelStatistics | None) -> str:
    """Why no engine can have codes for ``linear``, or nothing."""
    if seen is None:
        return "its input was not calibrated"
    if seen.magnitude.max() > _MASK:
        return "its input holds an attention mask"
    if linear.data.dtype != ir.DataType.FLOAT:
        return f"its input is {linear.data.dtype}, not float32"
    shared = quantizer(linear.weight)
    if shared is not None and shared.axis != linear.out_axis:
        return "another layer reads its weight along the other axis"
    return ""


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
