"""Ranges: from statistics to the interval [low, high] that a quantizer covers.

min-max       the smallest and the largest value
percentile    the range without a fraction of the sampled elements at each end
mse           the shrunken min-max interval whose rounding and clipping error is least on the sample
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from .statistics import ChannelStatistics

Interval = tuple[float, float]


def minmax(statistics: ChannelStatistics) -> Interval:
    """Cover all values from the smallest to the largest; exact."""
    return float(statistics.minimum.min()), float(statistics.maximum.max())


def percentile(statistics: ChannelStatistics, percent: float = 99.99) -> Interval:
    """Cut the interval at ``percent`` of the sampled elements at each end; min-max where nearly all are 0."""
    low, high = np.percentile(statistics.rows, [100 - percent, percent])
    return (float(low), float(high)) if low or high else minmax(statistics)


def mse(statistics: ChannelStatistics, bits: int = 8, steps: int = 40) -> Interval:
    """Shrink the min-max interval, in ``steps`` down to 0.2, to the least squared error on the sample."""
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
"""Range estimators by their names in a recipe."""


def _squared_error(rows: NDArray[np.float32], low: float, high: float, bits: int) -> float:
    scale = symmetric_scale(low, high, bits)
    half = 2 ** (bits - 1)
    integers = np.clip(np.round(rows / scale), -half, half - 1)
    return float(np.square(integers * scale - rows, dtype=np.float64).sum())


def symmetric_scale(low: float, high: float, bits: int = 8) -> float:
    """Return the scale of a symmetric quantizer to integers -2^(b-1) … 2^(b-1) - 1 that covers [low, high]."""
    half = 2 ** (bits - 1)
    return float(max(high / (half - 1), -low / half, np.finfo(np.float32).tiny))
