"""Shifts: X' = X - t, by solvers that leave the scale alone."""

from dataclasses import dataclass

import numpy as np

from ...ir.transform.transform import ChannelTransform
from ..cost_model.observation import Observation


@dataclass(frozen=True)
class Identity:
    """d = 1, t = 0: no transform."""

    def __str__(self) -> str:
        return "identity"

    def __call__(self, observation: Observation) -> ChannelTransform:
        return ChannelTransform.identity(observation.channels)


@dataclass(frozen=True)
class Shift:
    """t_c = (max x_c + min x_c) / 2, d = 1.

    Source: Outlier Suppression+ (Wei et al., 2023), section 4.1.
    """

    def __str__(self) -> str:
        return "shift"

    def __call__(self, observation: Observation) -> ChannelTransform:
        return ChannelTransform(np.ones(observation.channels), observation.centre)


@dataclass(frozen=True)
class ScalarShift:
    """t = (max x + min x) / 2 over all channels, d = 1.

    A quantizer with zero point 0 has twice the step of an asymmetric one on a value that is never negative, as after
    GELU or ReLU. One scalar gives that bit back, for one Add where nothing upstream takes it. Most such values are
    near 0, though, and -t after the shift: unless the consumers' biases make up for the rounding of their weights,
    t ΔW costs more than the bit is worth. Source: ours.
    """

    def __str__(self) -> str:
        return "scalar shift"

    def __call__(self, observation: Observation) -> ChannelTransform:
        middle = (observation.minimum.min() + observation.maximum.max()) / 2 if observation.shiftable else 0.0
        return ChannelTransform(np.ones(observation.channels), np.full(observation.channels, middle))
