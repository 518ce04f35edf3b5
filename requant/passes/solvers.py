"""Solvers: each paper's way of choosing (d, t) from what was observed at a site.

A solver is a frozen dataclass of its options that maps an `Observation` to a `Basis`. It touches no graph.
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ..ir.rebase import Basis
from .loss import loss
from .observation import Observation

_SMALLEST = 1e-5
"""Floor of ranges and factors: a channel that was never seen to move keeps a finite scale."""


class Solver(Protocol):
    """Maps what was observed at a site to a basis for it."""

    def __call__(self, observation: Observation) -> Basis: ...


@dataclass(frozen=True)
class Keep:
    """d = 1, t = 0: the basis that is there."""

    def __call__(self, observation: Observation) -> Basis:
        return Basis.identity(observation.channels)


@dataclass(frozen=True)
class SmoothQuant:
    """d_c = max|x_c - t_c|^α / max|w_c|^(1-α), with t = 0, or the channel's centre if ``shift``.

    Source: SmoothQuant (Xiao et al., 2023), section 4; the shift is Outlier Suppression+'s.
    """

    alpha: float = 0.5
    shift: bool = False

    def __call__(self, observation: Observation) -> Basis:
        shift = observation.centre if self.shift else np.zeros(observation.channels)
        reach = np.maximum(observation.reach(shift), _SMALLEST)
        weights = np.maximum(observation.weight_reach, _SMALLEST)
        return Basis(_centred_scale(reach**self.alpha / weights ** (1 - self.alpha)), shift)


@dataclass(frozen=True)
class Awq:
    """d_c = mean|x_c|^r, normalized by the root of its largest times its smallest.

    Source: AWQ (Lin et al., 2024), section 3.2.
    """

    power: float = 0.5

    def __call__(self, observation: Observation) -> Basis:
        mean = np.abs(observation.statistics.rows).mean(axis=0, dtype=np.float64)
        return Basis(_centred_scale(np.maximum(mean, _SMALLEST) ** self.power), np.zeros(observation.channels))


@dataclass(frozen=True)
class Shift:
    """t_c = the channel's centre, d = 1. Source: Outlier Suppression+ (Wei et al., 2023), section 4.1."""

    def __call__(self, observation: Observation) -> Basis:
        return Basis(np.ones(observation.channels), observation.centre)


@dataclass(frozen=True)
class OutlierSuppressionPlus:
    """t_c = the channel's centre; d_c = max(1, max|x_c - t_c| / T), with the threshold T of least loss.

    Only outlier channels are scaled. Source: Outlier Suppression+ (Wei et al., 2023), section 4.2.
    """

    steps: int = 8
    bits: int = 8

    def __call__(self, observation: Observation) -> Basis:
        reach = observation.reach(observation.centre)
        thresholds = np.geomspace(max(reach.max(), _SMALLEST), max(np.median(reach), _SMALLEST), self.steps)
        bases = [Basis(np.maximum(1.0, reach / threshold), observation.centre) for threshold in thresholds]
        return min(bases, key=lambda basis: loss(observation, basis, self.bits))


@dataclass(frozen=True)
class RepQ:
    """d_c = (s_c / mean s)^α and t_c = s_c (2^(b-1) - z_c): the per-channel quantizer (s, z) as one with zero point 0.

    s_c = (max - min) / (2^b - 1) and z_c = round(-min / s_c), an integer, so that at α = 1 the codes are those of
    the per-channel quantizer. Source: RepQ-ViT (Li et al., 2023), section 3.2; α is ours.
    """

    alpha: float = 1.0
    bits: int = 8

    def __call__(self, observation: Observation) -> Basis:
        low, high = observation.statistics.minimum, observation.statistics.maximum
        if not observation.shiftable:
            return Basis(self._scale(observation.reach(np.zeros(len(low)))), np.zeros(len(low)))
        step = np.maximum(high - low, _SMALLEST) / (2**self.bits - 1)
        zero_point = np.round(-low / step)
        return Basis(self._scale(step), step * (2 ** (self.bits - 1) - zero_point))

    def _scale(self, step: NDArray[np.float64]) -> NDArray[np.float64]:
        step = np.maximum(step, _SMALLEST)
        scale: NDArray[np.float64] = (step / step.mean()) ** self.alpha
        return scale


def _centred_scale(scale: NDArray[np.float64]) -> NDArray[np.float64]:
    """``scale`` over the root of its largest times its smallest: keeps γ and W near where they were."""
    centred: NDArray[np.float64] = scale / np.sqrt(scale.max() * scale.min())
    return centred
