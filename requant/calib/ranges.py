"""Ranges: from statistics to the interval [low, high] that a quantizer covers.

min-max       all that was seen
percentile    what is left when a fraction of the sampled elements is cut off at each end
mse           the shrunken min-max interval whose rounding and clipping error is least on the sample
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from .statistics import ChannelStatistics

Interval = tuple[float, float]


def minmax(statistics: ChannelStatistics) -> Interval:
    """The smallest and the largest value seen; exact."""
    return float(statistics.minimum.min()), float(statistics.maximum.max())


def percentile(statistics: ChannelStatistics, percent: float = 99.99) -> Interval:
    """The interval that holds ``percent`` of the sampled elements at each end; all, where nearly all are 0."""
    low, high = np.percentile(statistics.rows, [100 - percent, percent])
    return (float(low), float(high)) if low or high else minmax(statistics)


def mse(statistics: ChannelStatistics, bits: int = 8, steps: int = 40) -> Interval:
    """The fraction of the min-max interval, in ``steps`` down to 0.2, with the least squared error on the sample."""
    low, high = minmax(statistics)
    fractions = np.linspace(1.0, 0.2, steps)
    errors = [_squared_error(statistics.rows, low * f, high * f, bits) for f in fractions]
    best = float(fractions[int(np.argmin(errors))])
    return low * best, high * best


RANGES: dict[str, Callable[[ChannelStatistics], Interval]] = {
    "margin": minmax,
    "minmax": minmax,
    "percentile": percentile,
    "mse": mse,
}
"""Range estimators by the name that a recipe calls them."""


def _squared_error(rows: NDArray[np.float32], low: float, high: float, bits: int) -> float:
    scale = symmetric_scale(low, high, bits)
    half = 2 ** (bits - 1)
    codes = np.clip(np.round(rows / scale), -half, half - 1)
    return float(np.square(codes * scale - rows, dtype=np.float64).sum())


def symmetric_scale(low: float, high: float, bits: int = 8) -> float:
    """The scale of a quantizer with zero point 0 that covers [low, high]: codes run from -2^(b-1) to 2^(b-1) - 1."""
    half = 2 ** (bits - 1)
    return float(max(high / (half - 1), -low / half, np.finfo(np.float32).tiny))
