"""What a basis costs: the error that its readers make when data and weights are quantized.

    L(d, t) = ( mean over rows x of  (‖Q(x') Q(W') - x' W'‖² / ‖x W‖²)² )^½
            +  mean over rows x of  1/n Σ_c (κ_c r_c - A d_c)₊² ‖w_c‖² / ‖x W‖²

Each row counts relative to its own size: the norm after the block divides a massive token away, and a plain sum of
squares would see nothing else. The mean is a quadratic one, so that a basis that is bad for a few rows is not chosen
for being good for all others: what those few tokens hold is what the rest attend to.

The second term is what clipping will cost on data that nobody has seen. A basis that gives every channel exactly the
range A of the quantizer is best on the calibration data and clips everywhere else; one that leaves most channels some
room loses little. In each channel, data that nobody has seen are taken to reach as much further than the n rows of
calibration data as those reach further than a few of them (κ_c), and to do so once in n rows.
"""

import numpy as np
from numpy.typing import NDArray

from ..calib.statistics import ChannelStatistics
from ..ir.rewrite.basis import Basis
from .observation import Observation, Part

FARTHEST = 2.0
"""Upper bound of κ: a channel that is almost always silent says little about how far it may reach."""

IDLE = 0.1
"""A row that computes less than this share of the median row counts as if it computed so much."""

_TINY = float(np.finfo(np.float32).tiny)


def loss(observation: Observation, basis: Basis, bits: int = 8) -> float:
    """Quadratic mean of the relative squared errors of the readers' outputs under ``basis``, and the clipping to come.

    Each value gets one symmetric scale, from the exact ranges; weights get one for each output channel (for a Conv,
    each of its taps: a little kinder than the engine's). The mean error is left out: the bias takes it off again
    (`requant.passes.round_weights`).
    """
    return sum(_part_loss(part, basis.at(part.channels), 2 ** (bits - 1)) for part in observation.parts)


def _part_loss(part: Part, basis: Basis, half: int) -> float:
    seen, scale, shift = part.statistics, basis.scale.astype(np.float32), basis.shift.astype(np.float32)
    low, high = ((bound - basis.shift) / basis.scale for bound in (seen.minimum, seen.maximum))
    step = np.float32(max(high.max() / (half - 1), -low.min() / half, _TINY))
    codes = np.clip(np.round((seen.rows - shift) / scale / step), -half, half - 1) * step
    error = codes @ _rounded(part.matrix * scale[:, None], half) + shift @ part.matrix - part.product
    reference = np.square(part.product).sum(axis=1, dtype=np.float64)
    reference = np.maximum(reference, max(IDLE * float(np.median(reference)), _TINY))
    error -= ((1 / reference) @ error / (1 / reference).sum()).astype(np.float32)
    squared = np.square(error).sum(axis=1, dtype=np.float64)
    beyond = np.maximum(_unseen_reach(seen, basis) - float(step) * half * basis.scale, 0.0)
    clipped = float(beyond**2 @ np.square(part.matrix).sum(axis=1, dtype=np.float64)) / seen.count
    return float(np.sqrt(np.mean((squared / reference) ** 2))) + clipped * float(np.mean(1 / reference))


def _unseen_reach(seen: ChannelStatistics, basis: Basis) -> NDArray[np.float64]:
    """κ r of each channel: as much further than the data as those went beyond a quarter of the sampled rows."""
    reach = np.maximum(seen.maximum - basis.shift, basis.shift - seen.minimum)
    few = np.abs(seen.rows[: max(len(seen.rows) // 4, 1)] - basis.shift).max(axis=0)
    further: NDArray[np.float64] = np.clip(reach / np.maximum(few, _TINY), 1.0, FARTHEST) * reach
    return further


def _rounded(matrix: NDArray[np.float32], half: int) -> NDArray[np.float32]:
    """``matrix`` [K, N] through a symmetric quantizer with a scale for each column."""
    scale = np.maximum(np.abs(matrix).max(axis=0), np.float32(_TINY)) / np.float32(half - 1)
    rounded: NDArray[np.float32] = np.round(matrix / scale) * scale
    return rounded
