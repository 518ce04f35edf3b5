"""Mergeable statistics of a value's channels.

Each is a commutative monoid with bit-identical results: minima and maxima, a sum of terms rounded to a fixed grid (so
that floating-point addition is exact), and the rows of smallest priority, where a row's priority depends on the sample
that it comes from and not on the order.

Each sample belongs to one of 32 groups, by its content. Extremes are kept for each group, so that the range of some
samples can be judged on the remaining ones.
"""

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

ROWS = 1024
"""Rows sampled for solvers and ranges: 4 KiB of float32 a channel."""

MANY_ROWS = 4096
"""Rows sampled where weights of few bits are rounded on them, which takes more rows than a weight has."""

_MOST_NUMBERS = 2**23
"""The most numbers in the rows of a value beyond `ROWS` of them: 32 MiB."""

GROUPS = 32
"""The number of groups of samples."""

_GRID = 2.0 ** np.arange(90, -91, -30)
"""Steps onto which a term is split: each part is a multiple of its step and below 2^31 steps (2^53 at the top)."""


@dataclass(frozen=True)
class ChannelStatistics:
    """The statistics of C channels over the rows of some samples.

    ``counts`` [32] are the rows of each group of samples; ``lowest`` and ``highest`` [32, C] its extremes, exact, and
    infinite for a group without rows. ``sums`` and ``squares`` hold Σx and Σx² split over a grid, of shape [7, C].
    ``rows`` [R, C] is a random sample of at most ``most`` rows with their ``priorities`` [R] and ``groups`` [R].
    """

    counts: NDArray[np.int64]
    lowest: NDArray[np.float64]
    highest: NDArray[np.float64]
    sums: NDArray[np.float64]
    squares: NDArray[np.float64]
    rows: NDArray[np.float32]
    priorities: NDArray[np.float64]
    groups: NDArray[np.int64]
    most: int = ROWS

    @cached_property
    def count(self) -> int:
        """The number of rows."""
        return int(self.counts.sum())

    @cached_property
    def minimum(self) -> NDArray[np.float64]:
        """The smallest value of each channel, [C]; exact."""
        return np.asarray(self.lowest.min(axis=0))

    @cached_property
    def maximum(self) -> NDArray[np.float64]:
        """The largest value of each channel, [C]; exact."""
        return np.asarray(self.highest.max(axis=0))

    @property
    def mean(self) -> NDArray[np.float64]:
        """The mean of each channel, [C]."""
        mean: NDArray[np.float64] = self.sums.sum(axis=0) / self.count
        return mean

    @property
    def variance(self) -> NDArray[np.float64]:
        """The variance of each channel, [C]."""
        mean_square: NDArray[np.float64] = self.squares.sum(axis=0) / self.count
        return np.maximum(mean_square - self.mean**2, 0.0)

    @property
    def magnitude(self) -> NDArray[np.float64]:
        """The largest absolute value of each channel, [C]."""
        return np.maximum(np.abs(self.minimum), np.abs(self.maximum))

    def merge(self, other: "ChannelStatistics") -> "ChannelStatistics":
        """Merge the statistics of two sets of rows; commutative and associative to the bit."""
        priorities = np.concatenate([self.priorities, other.priorities])
        most = max(self.most, other.most)
        keep = np.argsort(priorities, kind="stable")[:most]
        return ChannelStatistics(
            self.counts + other.counts,
            np.minimum(self.lowest, other.lowest),
            np.maximum(self.highest, other.highest),
            self.sums + other.sums,
            self.squares + other.squares,
            np.concatenate([self.rows, other.rows])[keep],
            priorities[keep],
            np.concatenate([self.groups, other.groups])[keep],
            most,
        )

    def taken(self, order: NDArray[np.intp]) -> "ChannelStatistics":
        """Select the channels in ``order``; one may come several times."""
        return replace(
            self,
            lowest=self.lowest[:, order],
            highest=self.highest[:, order],
            sums=self.sums[:, order],
            squares=self.squares[:, order],
            rows=self.rows[:, order],
        )

    def without(self, excluded: NDArray[np.bool_]) -> "ChannelStatistics":
        """Leave the ``excluded`` groups [32] out of counts, extremes and rows; sums stay those of all groups."""
        mask, columns = ~excluded[self.groups], excluded[:, None]
        return replace(
            self,
            counts=np.where(excluded, 0, self.counts),
            lowest=np.where(columns, np.inf, self.lowest),
            highest=np.where(columns, -np.inf, self.highest),
            rows=self.rows[mask],
            priorities=self.priorities[mask],
            groups=self.groups[mask],
        )

    def transformed(self, scale: NDArray[np.float64], shift: NDArray[np.float64]) -> "ChannelStatistics":
        """Compute the statistics of (x - shift) / scale, in closed form, without another pass over the data."""
        mean = (self.mean - shift) / scale
        return replace(
            self,
            lowest=(self.lowest - shift) / scale,
            highest=(self.highest - shift) / scale,
            sums=_split(mean * self.count),
            squares=_split((self.variance / scale**2 + mean**2) * self.count),
            rows=((self.rows - shift) / scale).astype(np.float32),
        )


def measure(
    data: NDArray[np.generic],
    axis: int,
    seed: int,
    samples: NDArray[np.int64] | None = None,
    most: int = ROWS,
) -> ChannelStatistics:
    """Measure the statistics of one array, whose channels lie along ``axis``.

    ``seed`` identifies the feed that the array comes from; it decides which rows are sampled. ``samples`` [R] are the
    sample of each row, in order; None where all rows are of one sample. At most ``most`` rows are kept, fewer of many
    channels, but `ROWS` of any number.
    """
    rows = np.moveaxis(data, axis, -1).reshape(-1, data.shape[axis]).astype(np.float32, copy=False)
    priorities = np.random.Generator(np.random.PCG64(seed)).random(len(rows))
    most = max(ROWS, min(most, _MOST_NUMBERS // max(rows.shape[1], 1)))
    keep = np.argsort(priorities, kind="stable")[:most]
    numbers = np.zeros(len(rows), np.int64) if samples is None else samples
    groups = (seed % GROUPS + numbers) % GROUPS
    starts = np.flatnonzero(np.diff(numbers, prepend=-1))
    lowest, highest = (np.full((GROUPS, rows.shape[1]), bound) for bound in (np.inf, -np.inf))
    np.minimum.at(lowest, groups[starts], np.minimum.reduceat(rows, starts, axis=0))
    np.maximum.at(highest, groups[starts], np.maximum.reduceat(rows, starts, axis=0))
    return ChannelStatistics(
        np.bincount(groups, minlength=GROUPS),
        lowest,
        highest,
        _split(rows.sum(axis=0, dtype=np.float64)),
        _split(np.einsum("rc,rc->c", rows, rows, dtype=np.float64)),
        rows[keep],
        priorities[keep],
        groups[keep],
        most,
    )


def _split(terms: NDArray[np.float64]) -> NDArray[np.float64]:
    """Split ``terms`` into parts on each step of the grid, so that sums of up to 2^22 of them are exact."""
    parts, remainder = np.empty((len(_GRID), len(terms))), terms
    for i, step in enumerate(_GRID):
        parts[i] = np.round(remainder / step) * step
        remainder = remainder - parts[i]
    return parts
