"""A value of a site that gets a quantizer, by its statistics and the weights that it is multiplied by."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from ...calib.collect import statistics
from ...calib.statistics import ChannelStatistics
from ...ir.linear import Linear
from .cancellation import keeps_digits


@dataclass(frozen=True)
class Part:
    """A value of K channels that gets a quantizer, and its consumers' weights side by side as a matrix [K, N].

    ``channels[i]`` is the site's channel at the value's channel i, as in `requant.ir.channels.site`.
    """

    statistics: ChannelStatistics
    channels: NDArray[np.intp]
    matrix: NDArray[np.float32]

    @cached_property
    def product(self) -> NDArray[np.float32]:
        """The outputs of the consumers for the sampled rows, without their biases: [R, N]."""
        product: NDArray[np.float32] = self.statistics.rows @ self.matrix
        return product

    @cached_property
    def size(self) -> NDArray[np.float64]:
        """The squared norm of the consumers' outputs for each sampled row, [R]."""
        size: NDArray[np.float64] = np.square(self.product).sum(axis=1, dtype=np.float64)
        return size

    @cached_property
    def energy(self) -> NDArray[np.float64]:
        """Σ w² over all that the consumers multiply each channel by, [K]."""
        energy: NDArray[np.float64] = np.square(self.matrix).sum(axis=1, dtype=np.float64)
        return energy

    @property
    def may_be_shifted(self) -> bool:
        """Whether a shift to the middle of each channel's range leaves the rows their digits."""
        return keeps_digits((self.statistics.minimum + self.statistics.maximum) / 2, self.energy, self.size)


def part_of(consumers: Sequence[Linear]) -> Part | None:
    """Return the part of the value that ``consumers`` share, in its channels; None without consumers or statistics."""
    stats = statistics(consumers[0].current_data) if consumers else None
    if stats is None or len(stats.minimum) != consumers[0].inputs:
        return None
    matrices = [linear.matrix() for linear in {linear.weight: linear for linear in consumers}.values()]
    return Part(stats, np.arange(consumers[0].inputs), np.concatenate(matrices, axis=1))
