"""A margin for silent channels: calibration says little about their range."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ...ir.transform.transform import ChannelTransform
from ..cost_model.observation import Observation
from .scale import filled
from .solver import Solver


@dataclass(frozen=True)
class WithMargin:
    """d_c = max(d_c, L / ‖w_c‖) with L such that Σ (d_c ‖w_c‖)², the noise of the outputs, grows by ``share``.

    Rounding to the value's one step s puts s² d_c² ‖w_c‖² / 12 of noise into the outputs for each channel c. Channels
    that are seldom active would get small scales, and be clipped as soon as they exceed the calibration data; for the
    same noise from all of them they can have much larger ones, at a cost that is set beforehand. Source: ours.
    """

    solver: Solver
    share: float = 0.5

    def __str__(self) -> str:
        return f"{self.solver}, margin {100 * self.share:g} %"

    def __call__(self, observation: Observation) -> ChannelTransform:
        transform = self.solver(observation)
        weights = filled(observation.weight_norm)
        noise = transform.scale * weights
        return replace(transform, scale=np.maximum(transform.scale, _level(noise, self.share) / weights))


def _level(noise: NDArray[np.float64], share: float) -> float:
    """Return the level to which the smallest of ``noise`` are raised so that the sum of squares grows by ``share``."""
    power = np.sort(noise) ** 2
    counts = np.arange(1, len(power) + 1)
    levels = (share * power.sum() + np.cumsum(power)) / counts
    is_enough = levels <= np.append(power[1:], np.inf)
    return float(np.sqrt(levels[np.argmax(is_enough)]))
