"""The scale alone, where a shift would cost a node of its own."""

from dataclasses import dataclass, replace

from ...ir.transform.transform import ChannelTransform
from ..cost_model.observation import Observation
from .solver import Solver


@dataclass(frozen=True)
class ScaleOnly:
    """What ``solver`` gives where no shift is allowed."""

    solver: Solver

    def __call__(self, observation: Observation) -> ChannelTransform:
        return self.solver(replace(observation, shiftable=False))
