"""Why a layer has no scales that float32 can hold: engines take what is below its smallest normal number for 0."""

import numpy as np

from ..calib.statistics import ChannelStatistics
from ..ir.linear import Linear
from ..ir.quantizer import Quantizer

SMALLEST = float(np.finfo(np.float32).tiny)
"""The smallest scale that may be written, and the smallest product of two."""

LEAST = SMALLEST * 2.0**20
"""The smallest largest value with a scale: with codes of 16 bits, a range that is shrunk, and room for rounding."""


def no_range(seen: ChannelStatistics | None, *, static: bool, subject: str = "its input") -> str:
    """Say why what was seen of a value gives no scale, or nothing; ``static`` scales are set by calibration."""
    largest = float(seen.magnitude.max(initial=0.0)) if seen is not None else np.inf
    if largest == 0 and static:
        return f"{subject} is 0 in all of calibration"
    return f"{subject} is at most {largest:.1g} in calibration, too small for a scale" if 0 < largest < LEAST else ""


def no_scale(linear: Linear, data: Quantizer | None, weight: Quantizer) -> str:
    """Say why the scales of a layer's data and weight cannot be written, or nothing."""
    tensor = linear.weight.const_value
    assert tensor is not None
    largest = float(np.abs(tensor.numpy().astype(np.float32, copy=False)).max(initial=0.0))
    if 0 < largest < LEAST:
        return f"its weight is at most {largest:.1g}, too small for a scale"
    product = float(weight.scale.min()) * (1.0 if data is None else float(data.scale))
    return "" if product >= SMALLEST else f"its scales multiply to {product:.1g}, too small for a scale of the product"
