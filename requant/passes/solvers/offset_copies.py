"""Offset copies: copies of a channel differ by parts of a step, so that together they round more finely."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ...calib.ranges import symmetric_scale
from ...ir.transform.transform import ChannelTransform
from ..cost_model.observation import Observation
from .solver import Solver


@dataclass(frozen=True)
class OffsetCopies:
    """t_k = t + ((k - (n - 1) / 2) / n) s d for copy k of the n that a channel has, where s is the value's step.

    Each copy rounds at other points, and the consumers add them up: n copies round like one with a step of s / n.
    Without copies it is ``solver`` itself. Source: ours.
    """

    solver: Solver

    def __str__(self) -> str:
        return f"{self.solver}, offset copies"

    def __call__(self, observation: Observation) -> ChannelTransform:
        transform = self.solver(observation)
        if observation.order is None or not observation.shiftable:
            return transform
        low = (observation.minimum - transform.shift) / transform.scale
        high = (observation.maximum - transform.shift) / transform.scale
        step = symmetric_scale(float(low.min()), float(high.max()))
        return replace(transform, shift=transform.shift + _offsets(observation.order) * step * transform.scale)


def _offsets(order: NDArray[np.intp]) -> NDArray[np.float64]:
    """Return the offset of each copy within a step, from -1/2 to 1/2: 0 for a channel without copies."""
    copies = np.bincount(order)
    by_channel = np.argsort(order, kind="stable")
    rank = np.empty(len(order))
    rank[by_channel] = np.arange(len(order)) - np.repeat(np.cumsum(copies) - copies, copies)
    offsets: NDArray[np.float64] = (rank - (copies[order] - 1) / 2) / copies[order]
    return offsets
