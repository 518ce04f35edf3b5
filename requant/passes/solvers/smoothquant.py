"""SmoothQuant: d = max|X|^α / max|W|^(1-α), which shares outliers between data and weights."""

from dataclasses import dataclass

import numpy as np

from ...ir.transform.transform import ChannelTransform
from ..cost_model.observation import Observation
from .scale import centred, filled


@dataclass(frozen=True)
class SmoothQuant:
    """d_c = max|x_c - t_c|^α / max|w_c|^(1-α), with t = 0, or the channel's centre if ``shift``.

    The largest weight is that of all consumers. At α = 1 each channel is divided by its own quantization step.
    Source: SmoothQuant (Xiao et al., 2023), section 4; the shift is Outlier Suppression+'s.
    """

    alpha: float = 0.5
    shift: bool = False

    def __str__(self) -> str:
        return f"SmoothQuant α={self.alpha:g}" + (" + shift" if self.shift else "")

    def __call__(self, observation: Observation) -> ChannelTransform:
        shift = observation.centre if self.shift else np.zeros(observation.channels)
        reach, weights = filled(observation.reach(shift)), filled(observation.weight_reach)
        return ChannelTransform(centred(reach**self.alpha / weights ** (1 - self.alpha)), shift)
