"""round(x_c / s_c) + z_c = round((x_c - t_c) / d_c / s̃) + 2^(b-1): a per-channel quantizer as one with zero point 0."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...ir.transform.transform import ChannelTransform
from ..cost_model.observation import Observation, Part
from .scale import filled


@dataclass(frozen=True)
class RepQ:
    """d_c = (s_c / mean s)^α and t_c = s_c (2^(b-1) - z_c), for the asymmetric quantizer (s_c, z_c) of each channel.

    s_c = (high - low) / (2^b - 1) and z_c = round(-low / s_c), an integer, so that at α = 1 the codes are those of
    the per-channel quantizer. Where no shift is allowed, the range is made symmetric.

    [low, high] holds the share of the channel's sampled values, at each end, that among ``percentiles`` gives the
    least squared error; 100 is the exact range. What lies beyond is clipped only if the value's quantizer clips too:
    with ranges that cover all that was seen, nothing below 100 pays.

    Source: RepQ-ViT (Li et al., 2023), section 3.2, where z̃ is the mean of z; 2^(b-1) and α are ours. RepQuant,
    AdaLog and APHQ-ViT have the same rewrite.
    """

    alpha: float = 1.0
    bits: int = 8
    percentiles: tuple[float, ...] = (100.0,)

    def __call__(self, observation: Observation) -> ChannelTransform:
        found = [self._quantizer(observation, percent) for percent in self.percentiles]
        best = np.argmin([self._error(observation, one) for one in found], axis=0) if len(found) > 1 else 0
        step = np.choose(best, [one.scale for one in found])
        return ChannelTransform((step / step.mean()) ** self.alpha, np.choose(best, [one.shift for one in found]))

    def _quantizer(self, observation: Observation, percent: float) -> ChannelTransform:
        """The quantizer of each channel as the transform in which its step is 1 and its zero point 0."""
        low, high = _interval(observation, percent)
        if not observation.shiftable:
            high = np.maximum(-low, high)
            return ChannelTransform(filled(2 * high) / (2**self.bits - 1), np.zeros(observation.channels))
        step = filled(high - low) / (2**self.bits - 1)
        middle = np.round((2**self.bits - 1) / 2 - (low + high) / 2 / step)
        return ChannelTransform(step, step * (2 ** (self.bits - 1) - middle))

    def _error(self, observation: Observation, quantizer: ChannelTransform) -> NDArray[np.float64]:
        """Sum of (x - Q(x))² over the sampled rows, [C]."""
        half = 2 ** (self.bits - 1)

        def error(part: Part) -> NDArray[np.float64]:
            own = quantizer.at(part.channels)
            exact = (part.statistics.rows - own.shift) / own.scale
            rounded = np.clip(np.round(exact), -half, half - 1)
            total: NDArray[np.float64] = np.square((rounded - exact) * own.scale).sum(axis=0)
            return total

        return observation.folded(0.0, np.add, error)


def _interval(observation: Observation, percent: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """What holds ``percent`` of each channel's sampled values at each end, [C] each."""
    if percent == 100:
        return observation.minimum, observation.maximum

    def bound(at: float, keep: np.ufunc, start: float) -> NDArray[np.float64]:
        return observation.folded(start, keep, lambda part: np.percentile(part.statistics.rows, at, axis=0))

    return bound(100 - percent, np.minimum, np.inf), bound(percent, np.maximum, -np.inf)
