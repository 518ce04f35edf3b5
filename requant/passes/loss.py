"""What a basis costs: the error that its readers make when data and weights are quantized.

    L(d, t) = mean over rows of  ‖Q(X') Q(W') - X' W'‖² / ‖X W‖²   +   p Σ_c (κ r_c / d_c - A)₊² ‖w'_c‖² / ‖X W‖²

Each row counts relative to its own size: the norm after the block divides a massive token away, and a plain sum of
squares would see nothing else.

The second term is what clipping will cost on data that nobody has seen. A basis that gives every channel exactly the
range A of the quantizer is best on the calibration data and clips everywhere else; one that leaves most channels some
room loses little. Unseen data are taken to reach κ times as far as the reach r_c of channel c once in 1/p rows.
"""

import numpy as np
from numpy.typing import NDArray

from ..calib.ranges import symmetric_scale
from ..ir.rebase import Basis
from .observation import Observation

REACH = 1.3
"""κ: how much further than the calibration data unseen data may reach."""

CHANCE = 1e-4
"""p: the share of rows in which a channel does."""


def loss(observation: Observation, basis: Basis, bits: int = 8, *, covered: float = 1.0) -> float:
    """Mean relative squared error of the readers' outputs under ``basis``, with static symmetric quantizers.

    Data gets one scale for the tensor, which covers the fraction ``covered`` of what was seen; weights get one scale
    for each output channel.
    """
    half = 2 ** (bits - 1)
    rows = ((observation.statistics.rows - basis.shift) / basis.scale).astype(np.float32)
    low = (observation.statistics.minimum - basis.shift) / basis.scale
    high = (observation.statistics.maximum - basis.shift) / basis.scale
    step = covered * symmetric_scale(float(low.min()), float(high.max()), bits)
    codes = np.clip(np.round(rows / np.float32(step)), -half, half - 1) * np.float32(step)
    beyond = np.maximum(REACH * observation.reach(basis.shift) - step * half * basis.scale, 0.0)
    squared, reference, clipped = np.zeros(len(rows)), np.zeros(len(rows)), 0.0
    for (matrix, channels), product in zip(observation.weights, observation.products, strict=True):
        scaled = matrix * basis.scale[channels, None].astype(np.float32)
        constant = basis.shift[channels].astype(np.float32) @ matrix
        error = codes[:, channels] @ _rounded(scaled, half) + constant - product
        squared += np.square(error).sum(axis=1, dtype=np.float64)
        reference += np.square(product).sum(axis=1, dtype=np.float64)
        clipped += float(beyond[channels] ** 2 @ np.square(matrix).sum(axis=1, dtype=np.float64))
    return float(np.mean((squared + CHANCE * clipped) / np.maximum(reference, np.finfo(np.float32).tiny)))


def _rounded(matrix: NDArray[np.float32], half: int) -> NDArray[np.float32]:
    """``matrix`` [K, N] through a symmetric quantizer with a scale for each column."""
    scale = np.maximum(np.abs(matrix).max(axis=0), np.finfo(np.float32).tiny) / np.float32(half - 1)
    rounded: NDArray[np.float32] = np.round(matrix / scale) * scale
    return rounded
