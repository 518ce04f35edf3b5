"""Limits of scales: engines take what is below float32's smallest normal number for 0."""

import numpy as np

from ..calib.statistics import ChannelStatistics
from ..ir.linear import Linear
from ..ir.quantizer import Quantizer
from ..ir.refusal import Refusal

SMALLEST = float(np.finfo(np.float32).tiny)
"""The smallest scale that may be written, and the smallest product of two."""

LEAST_MAGNITUDE = SMALLEST * 2.0**20
"""The smallest largest magnitude with a scale: with integers of 16 bits, a range that is shrunk, and rounding."""


def no_range(stats: ChannelStatistics | None, *, static: bool, subject: str = "its input") -> str | None:
    """Return the reason why statistics give no scale, or None; ``static`` scales are set by calibration."""
    largest = float(stats.magnitude.max(initial=0.0)) if stats is not None else np.inf
    if largest == 0 and static:
        return f"{subject} is 0 in all of calibration"
    return (
        f"{subject} is at most {largest:.1g} in calibration, too small for a scale"
        if 0 < largest < LEAST_MAGNITUDE
        else None
    )


def no_scale(linear: Linear, data: Quantizer | None, weight: Quantizer) -> Refusal | None:
    """Refuse ``linear`` where float32 cannot hold the scales of its data and its weight."""
    tensor = linear.weight.const_value
    assert tensor is not None
    largest = float(np.abs(tensor.numpy().astype(np.float32, copy=False)).max(initial=0.0))
    if 0 < largest < LEAST_MAGNITUDE:
        return Refusal.at(linear.node, f"its weight is at most {largest:.1g}, too small for a scale")
    product = float(weight.scale.min()) * (1.0 if data is None else float(data.scale))
    if product >= SMALLEST:
        return None
    return Refusal.at(linear.node, f"its scales multiply to {product:.1g}, too small for a scale of the product")
