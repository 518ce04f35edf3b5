"""RepQ: round(x_c / s_c) + z_c = round((x_c - t_c) / d_c / s̃) + 2^(b-1)."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...ir.transform.transform import ChannelTransform
from ..cost_model.observation import Observation
from ..cost_model.part import Part
from .scale import filled


@dataclass(frozen=True)
class RepQ:
    """d_c = (s_c / mean s)^α and t_c = s_c (2^(b-1) - z_c), for the asymmetric quantizer (s_c, z_c) of each channel.

    s_c = (high - low) / (2^b - 1) and z_c = round(-low / s_c), an integer, so that at α = 1 the integers are those
    of the per-channel quantizer. Where no shift is allowed, the range is made symmetric.

    [low, high] holds the share of the channel's sampled values, at each end, that among ``percentiles`` gives the
    least squared error; 100 is the exact range. What lies beyond is clipped only if the value's quantizer clips too:
    with ranges that cover all of the calibration data, nothing below 100 pays.

    Source: RepQ-ViT (Li et al., 2023), section 3.2, where z̃ is the mean of z; 2^(b-1) and α are ours. RepQuant,
    AdaLog and APHQ-ViT have the same rewrite.
    """

    alpha: float = 1.0
    bits: int = 8
    percentiles: tuple[float, ...] = (100.0,)

    def __str__(self) -> str:
        return f"RepQ α={self.alpha:g}"

    def __call__(self, observation: Observation) -> ChannelTransform:
        candidates = [self._quantizer(observation, percent) for percent in self.percentiles]
        is_single = len(candidates) == 1
        best = 0 if is_single else np.argmin([self._error(observation, candidate) for candidate in candidates], axis=0)
        step = np.choose(best, [candidate.scale for candidate in candidates])
        shift = np.choose(best, [candidate.shift for candidate in candidates])
        return ChannelTransform((step / step.mean()) ** self.alpha, shift)

    def _quantizer(self, observation: Observation, percent: float) -> ChannelTransform:
        """Return the quantizer of each channel as the transform in which its step is 1 and its zero point 0."""
        low, high = _interval(observation, percent)
        if not observation.shiftable:
            high = np.maximum(-low, high)
            return ChannelTransform(filled(2 * high) / (2**self.bits - 1), np.zeros(observation.channels))
        step = filled(high - low) / (2**self.bits - 1)
        middle = np.round((2**self.bits - 1) / 2 - (low + high) / 2 / step)
        return ChannelTransform(step, step * (2 ** (self.bits - 1) - middle))

    def _error(self, observation: Observation, quantizer: ChannelTransform) -> NDArray[np.float64]:
        """Return the sum of (x - Q(x))² over the sampled rows, [C]."""
        half = 2 ** (self.bits - 1)

        def error(part: Part) -> NDArray[np.float64]:
            channels = quantizer.at(part.channels)
            steps = (part.statistics.rows - channels.shift) / channels.scale
            integers = np.clip(np.round(steps), -half, half - 1)
            total: NDArray[np.float64] = np.square((integers - steps) * channels.scale).sum(axis=0)
            return total

        return observation.merged(0.0, np.add, error)


def _interval(observation: Observation, percent: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the ends of the range that holds ``percent`` of each channel's sampled values, [C] each."""
    if percent == 100:
        return observation.minimum, observation.maximum

    def bound(percentile: float, merge: np.ufunc, start: float) -> NDArray[np.float64]:
        return observation.merged(start, merge, lambda part: np.percentile(part.statistics.rows, percentile, axis=0))

    return bound(100 - percent, np.minimum, np.inf), bound(percent, np.maximum, -np.inf)
