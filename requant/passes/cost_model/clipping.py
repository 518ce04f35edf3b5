"""The cost of clipping on data that set no range, and the margin that pays for it.

    ρ = |x_c - t_c| / (A d_c)      e = v (A d_c)² ‖w_c‖² / R     for each element x_c of the rows that a fold leaves
                                                                 out; t, d and the range A come from the other folds
    E(m) = h Σ e (ρ - m)₊²                                       h = (n' + 1) / (n + 1): n' of n rows are in those
    m* = argmin over m of  (m² - 1) D + E(m)                     D: what rounding the data costs at m = 1

Beyond the 32 largest ρ the sum goes on with an exponential tail, whose mean excess is theirs, shrunk to .3 as by four
more of them; E is never less than what was seen. A tail that is heavier the fewer samples it comes from would ask for
two or three times the range of data that have none, 6 to 10 dB of rounding. Source: ours.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

MARGINS = 1.03 ** np.arange(41.0)
"""The margins to choose from: 1 to 3.3 times the range of the calibration data."""

_NEAR = 0.8
"""The least start of the tail, as a share of the range."""

_TAIL = 32
"""Elements that the tail is fitted to."""

_EXCESS, _WEIGHT = 0.3, 4.0
"""The value that the mean excess is shrunk to, and the weight of that."""


@dataclass(frozen=True)
class Reach:
    """Elements near the end of a range that other samples set: ρ and h e of each."""

    ratio: NDArray[np.float64]
    cost: NDArray[np.float64]

    @classmethod
    def nothing(cls) -> "Reach":
        """Return a `Reach` without elements."""
        return cls(np.empty(0), np.empty(0))

    @classmethod
    def joined(cls, reaches: "Sequence[Reach]") -> "Reach":
        """Return all elements of several folds."""
        return cls(*(np.concatenate([getattr(one, name) for one in reaches]) for name in ("ratio", "cost")))


def reach(ratio: NDArray[np.floating], row_cost: NDArray[np.floating], channel_cost: NDArray[np.floating]) -> Reach:
    """Return the elements of ``ratio`` [R, C] that matter; the cost of each is its row's times its channel's."""
    row, channel = np.nonzero(ratio > _NEAR)
    return Reach(ratio[row, channel].astype(np.float64), row_cost[row] * channel_cost[channel])


def clipping(data: Reach) -> NDArray[np.float64]:
    """Return E for each of `MARGINS`."""
    if not len(data.ratio):
        return np.zeros_like(MARGINS)
    start = max(_NEAR, float(np.partition(data.ratio, -_TAIL - 1)[-_TAIL - 1]) if len(data.ratio) > _TAIL else _NEAR)
    beyond = data.ratio > start
    cost, excess = data.cost[beyond], data.ratio[beyond] - start
    if not cost.sum() > 0:
        return np.zeros_like(MARGINS)
    prior = _WEIGHT * float(cost.mean())
    scale = (float(cost @ excess) + prior * _EXCESS) / (float(cost.sum()) + prior)
    tail = cost.sum() * 2 * scale**2 * np.exp(-(np.maximum(MARGINS, start) - start) / scale)
    observed_cost = data.cost @ np.square(np.maximum(data.ratio[:, None] - MARGINS, 0.0))
    expected: NDArray[np.float64] = np.where(start <= MARGINS, np.maximum(tail, observed_cost), observed_cost)
    return expected
