"""Statistics of named values, feed by feed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from ..runtime.outputs import arrays
from .rows import Dropped, finite_rows
from .statistics import ROWS, ChannelStatistics, measure

_Number = TypeVar("_Number", bound=np.generic)


@dataclass
class Watch:
    """A collector of the statistics of values, by name with their channel ``axes``, and a sample of ``most`` rows.

    Rows that are NaN or infinite are left out and counted (see `requant.calib.rows`); empty values are skipped.
    """

    axes: Mapping[str, int]
    most: int = ROWS
    totals: dict[str, ChannelStatistics] = field(init=False, default_factory=dict)
    dropped: dict[str, Dropped] = field(init=False)

    def __post_init__(self) -> None:
        """Count from 0."""
        self.dropped = dict.fromkeys(self.axes, Dropped())

    def add(self, taps: Mapping[str, object], seed: int, batch: int) -> None:
        """Add what ``taps`` hold of one feed, of the fingerprint ``seed``, with ``batch`` samples."""
        for name, axis in self.axes.items():
            parts = [(data, *finite_rows(data, axis)) for data in arrays(taps[name])]
            for _, rows, finite in parts:
                self.dropped[name] = self.dropped[name].plus(len(finite), len(finite) - len(rows))
            numbers = [_samples(data, axis, batch, finite) for data, rows, finite in parts if len(rows)]
            if numbers:
                rows = _joined([rows for _, rows, _ in parts if len(rows)])
                total = measure(rows, -1, seed, _joined(numbers), self.most)
                self.totals[name] = self.totals[name].merge(total) if name in self.totals else total


def _joined(parts: Sequence[NDArray[_Number]]) -> NDArray[_Number]:
    """Join arrays along the first axis, without a copy where there is one."""
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def _samples(data: NDArray[np.generic], axis: int, batch: int, finite: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Number the sample of each finite row: samples lie along the first axis wherever that is as long as the batch."""
    first = data.ndim > 1 and axis % data.ndim != 0 and len(data) == batch
    return np.repeat(np.arange(batch if first else 1), len(finite) // (batch if first else 1))[finite]
