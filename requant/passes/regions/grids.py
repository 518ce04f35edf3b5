"""Grids: the quantizers of the values between kernels. Values of which one is moved into the other share a grid.

Concat(a, b) = c, Slice(c) = d        one quantizer for a, b, c and d: integers are moved as they are
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import reduce

import numpy as np
import onnx_ir as ir

from ...calib.activations import Activation, activation
from ...calib.ranges import Interval
from ...calib.statistics import ChannelStatistics
from ...ir.activated import bounds
from ...ir.kernels import Kernel, moved_together, readers
from ...ir.quantizer import Quantizer, code_range
from ..magnitudes import LARGEST
from ..scale_limits import no_range
from .ranges import interval, quantizer, reading

_GATES = {"Sigmoid": (0.0, 1.0), "HardSigmoid": (0.0, 1.0)}
"""The ranges of outputs that are known without data, by the kind of the kernel."""


def grids(kernels: Sequence[Kernel], dtype: ir.DataType) -> dict[ir.Value, Quantizer]:
    """Return the quantizer of each value that the ``kernels`` read or write and that was measured."""
    groups = {id(group): group for group in moved_together(kernels).values()}.values()
    consumers = readers(kernels)
    producers = {value: kernel for kernel in kernels for value in kernel.outputs}
    quantizers: dict[ir.Value, Quantizer] = {}
    for values in groups:
        read_as = reading(values, [kernel for value in values for kernel in consumers.get(value, ())])
        covered = [
            _GATES.get(producers[value].kind if value in producers else "") or interval(stats, read_as)
            for value in values
            if (stats := _usable(activation(value))) is not None
        ]
        computed = [value for value in values if value not in producers or not producers[value].moves]
        if len(covered) == len(computed) and all(activation(value) is not None for value in values):
            plan = quantizer((min(low for low, _ in covered), max(high for _, high in covered)), dtype)
            clips = [limits for value in values if (limits := _bounds(producers.get(value))) is not None]
            quantizers |= dict.fromkeys(values, reduce(_fitted, clips, plan))
    return quantizers


def _bounds(kernel: Kernel | None) -> Interval | None:
    """Return the bounds that the kernel leaves to the saturation of its integers, or None where it has none.

    These are those of the Relu or the Clip behind a Conv, and those of a HardSigmoid, which becomes a sum.
    """
    if kernel is None or kernel.kind == "HardSigmoid":
        return None if kernel is None else _GATES[kernel.kind]
    return None if kernel.linear is None or len(kernel.nodes) == 1 else bounds(kernel.nodes[-1])


def _fitted(plan: Quantizer, limits: Interval) -> Quantizer:
    """Move ``plan`` so that its integers are within ``limits`` where they exceed them by less than a step.

    Data that reach the bounds of a Clip have a range that ends there, and rounding the scale or the zero point moves
    the ends.
    """
    assert plan.zero_point is not None
    (low, high), (lowest, highest), step = limits, _reach(plan), float(plan.scale)
    if (low <= lowest and highest <= high) or lowest + step < low or highest - step > high:
        return plan
    first, last = code_range(plan.dtype, plan.bits)
    zeros = (zero for zero in float(plan.zero_point) + np.arange(-1, 2) if first <= zero <= last)
    scale, zero = max((_largest_scale(limits, (first - zero, last - zero), step), zero) for zero in zeros)
    return replace(plan, scale=np.asarray(scale, np.float32), zero_point=np.asarray(zero, np.float32))


def _largest_scale(limits: Interval, codes: tuple[float, float], largest: float) -> float:
    """Return the largest scale in float32, up to ``largest``, by which the two ``codes`` are within ``limits``."""
    exact = min(largest, *(end / code for end, code in zip(limits, codes, strict=True) if code))
    scale = np.float32(exact)
    return float(scale if float(scale) <= exact else np.nextafter(scale, np.float32(0)))


def _reach(plan: Quantizer) -> Interval:
    """Return the least and the largest number that the integers of ``plan`` stand for."""
    lowest, highest = plan.decode(np.array(code_range(plan.dtype, plan.bits)))
    return float(lowest), float(highest)


def _usable(entry: Activation | None) -> ChannelStatistics | None:
    """Return statistics that give a range: not of a value that is always 0, or reaches as far as masks do."""
    stats = None if entry is None else entry.statistics
    return None if stats is None or no_range(stats, static=True) or stats.magnitude.max() > LARGEST else stats


def within_bounds(kernel: Kernel, quantizers: Mapping[ir.Value, Quantizer]) -> bool:
    """Tell whether the integers of the output are within the bounds that are left to their saturation."""
    if (limits := _bounds(kernel)) is None:
        return True
    lowest, highest = _reach(quantizers[kernel.outputs[0]])
    return limits[0] <= lowest and highest <= limits[1]
