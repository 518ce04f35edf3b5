"""What a solver may look at: a site's statistics and its readers' weights, in the site's channel order."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property, reduce

import numpy as np
from numpy.typing import NDArray

from ..calib.collect import statistics
from ..calib.statistics import ChannelStatistics
from ..ir.sites import Reader, Site
from .choose_layers import is_quantized


@dataclass(frozen=True)
class Observation:
    """A site of C channels as a solver sees it; nothing here can change the graph.

    ``weights`` pairs the matrix [K, N] of each reader that is to be quantized with the site's channel at each of its
    K rows. ``shiftable`` says whether t may differ from 0.
    """

    statistics: ChannelStatistics
    weights: tuple[tuple[NDArray[np.float32], NDArray[np.intp]], ...]
    shiftable: bool

    @property
    def channels(self) -> int:
        """Number of channels C."""
        return len(self.statistics.minimum)

    @property
    def centre(self) -> NDArray[np.float64]:
        """Middle of each channel's range [C], or zeros where no shift is allowed."""
        middle = (self.statistics.minimum + self.statistics.maximum) / 2
        return middle if self.shiftable else np.zeros_like(middle)

    def reach(self, shift: NDArray[np.float64]) -> NDArray[np.float64]:
        """Largest |x - shift| of each channel, [C]."""
        return np.maximum(self.statistics.maximum - shift, shift - self.statistics.minimum)

    @cached_property
    def weight_reach(self) -> NDArray[np.float64]:
        """Largest |w| that any reader multiplies each channel by, [C]; 0 for a channel that nobody reads."""
        largest = np.zeros(self.channels)
        for matrix, channels in self.weights:
            np.maximum.at(largest, channels, np.abs(matrix).max(axis=1))
        return largest

    @cached_property
    def products(self) -> tuple[NDArray[np.float32], ...]:
        """What each reader computes from the sampled rows, without its bias: [R, N] each."""
        return tuple(self.statistics.rows[:, channels] @ matrix for matrix, channels in self.weights)


def observe(site: Site) -> Observation | None:
    """The observation of ``site``, or None when it was not calibrated along its channels."""
    seen = [statistics(value) for value in site.values]
    known = [item for item in seen if item is not None and len(item.minimum) == site.channels]
    if len(known) < len(seen):
        return None
    weights = tuple(_stacked([reader for reader in site.readers if is_quantized(reader.linear)]))
    return Observation(reduce(ChannelStatistics.merge, known), weights, site.fixed_shift is None)


def _stacked(readers: Iterable[Reader]) -> Iterator[tuple[NDArray[np.float32], NDArray[np.intp]]]:
    """Readers with the same channels side by side, each weight once: one product instead of three for Q, K, V."""
    matrices: dict[bytes, list[NDArray[np.float32]]] = {}
    orders: dict[bytes, NDArray[np.intp]] = {}
    for reader in {reader.linear.weight: reader for reader in readers}.values():
        key = reader.channels.tobytes()
        orders[key] = reader.channels
        matrices.setdefault(key, []).append(reader.linear.matrix())
    for key, parts in matrices.items():
        yield np.concatenate(parts, axis=1), orders[key]
