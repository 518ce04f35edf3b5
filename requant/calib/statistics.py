"""Mergeable statistics of a value's channels.

Each is a commutative monoid with bit-identical results: min, max, a sum of terms rounded to a fixed grid (so that
floating-point addition is exact), and the rows of smallest priority, where a row's priority depends on the sample
that it comes from and not on when it was seen.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

ROWS = 1024
"""Rows kept for solvers and ranges: 4 KiB of float32 a channel."""

_GRID = 2.0 ** np.arange(90, -91, -30)
"""Steps onto which a term is split: each part is a multiple of its step and below 2^31 steps (2^53 at the top)."""


@dataclass(frozen=True)
class ChannelStatistics:
    """What was seen in C channels over ``count`` rows.

    ``minimum``, ``maximum`` are exact, of shape [C]. ``sums`` and ``squares`` hold Σx and Σx² split over a grid,
    of shape [7, C]. ``rows`` [R, C], R ≤ 1024, is a random sample of rows with their ``priorities`` [R].
    """

    count: int
    minimum: NDArray[np.float64]
    maximum: NDArray[np.float64]
    sums: NDArray[np.float64]
    squares: NDArray[np.float64]
    rows: NDArray[np.float32]
    priorities: NDArray[np.float64]

    @property
    def mean(self) -> NDArray[np.float64]:
        """Mean of each channel, [C]."""
        mean: NDArray[np.float64] = self.sums.sum(axis=0) / self.count
        return mean

    @property
    def variance(self) -> NDArray[np.float64]:
        """Variance of each channel, [C]."""
        mean_square: NDArray[np.float64] = self.squares.sum(axis=0) / self.count
        return np.maximum(mean_square - self.mean**2, 0.0)

    @property
    def magnitude(self) -> NDArray[np.float64]:
        """Largest absolute value of each channel, [C]."""
        return np.maximum(np.abs(self.minimum), np.abs(self.maximum))

    def merge(self, other: "ChannelStatistics") -> "ChannelStatistics":
        """The statistics of both sets of rows; commutative and associative to the bit."""
        priorities = np.concatenate([self.priorities, other.priorities])
        keep = np.argsort(priorities, kind="stable")[:ROWS]
        return ChannelStatistics(
            self.count + other.count,
            np.minimum(self.minimum, other.minimum),
            np.maximum(self.maximum, other.maximum),
            self.sums + other.sums,
            self.squares + other.squares,
            np.concatenate([self.rows, other.rows])[keep],
            priorities[keep],
        )

    def taken(self, order: NDArray[np.intp]) -> "ChannelStatistics":
        """The statistics of the channels in ``order``; one may come several times."""
        return replace(
            self,
            minimum=self.minimum[order],
            maximum=self.maximum[order],
            sums=self.sums[:, order],
            squares=self.squares[:, order],
            rows=self.rows[:, order],
        )

    def rebased(self, scale: NDArray[np.float64], shift: NDArray[np.float64]) -> "ChannelStatistics":
        """The statistics of (x - shift) / scale, in closed form: no second look at the data."""
        mean = (self.mean - shift) / scale
        return ChannelStatistics(
            self.count,
            (self.minimum - shift) / scale,
            (self.maximum - shift) / scale,
            _split(mean * self.count),
            _split((self.variance / scale**2 + mean**2) * self.count),
            ((self.rows - shift) / scale).astype(np.float32),
            self.priorities,
        )


def measure(data: NDArray[np.generic], axis: int, seed: int) -> ChannelStatistics:
    """The statistics of one array, whose channels lie along ``axis``.

    ``seed`` identifies the sample that the array comes from; it decides which rows are kept.
    """
    rows = np.moveaxis(data, axis, -1).reshape(-1, data.shape[axis]).astype(np.float32, copy=False)
    priorities = np.random.Generator(np.random.PCG64(seed)).random(len(rows))
    keep = np.argsort(priorities, kind="stable")[:ROWS]
    return ChannelStatistics(
        len(rows),
        rows.min(axis=0).astype(np.float64),
        rows.max(axis=0).astype(np.float64),
        _split(rows.sum(axis=0, dtype=np.float64)),
        _split(np.einsum("rc,rc->c", rows, rows, dtype=np.float64)),
        rows[keep],
        priorities[keep],
    )


def _split(terms: NDArray[np.float64]) -> NDArray[np.float64]:
    """Parts of ``terms`` on each step of the grid, so that adding up to 2^22 of them rounds nothing."""
    parts, rest = np.empty((len(_GRID), len(terms))), terms
    for i, step in enumerate(_GRID):
        parts[i] = np.round(rest / step) * step
        rest = rest - parts[i]
    return parts
