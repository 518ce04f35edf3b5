"""Scale only: no shift, where that would cost a node."""

from dataclasses import dataclass, replace

from ...ir.transform.transform import ChannelTransform
from ..cost_model.observation import Observation
from .solver import Solver


@dataclass(frozen=True)
class ScaleOnly:
    """The transform of ``solver`` as if no shift were allowed."""

    solver: Solver

    def __str__(self) -> str:
        return f"{self.solver}, scale only"

    def __call__(self, observation: Observation) -> ChannelTransform:
        return self.solver(replace(observation, shiftable=False))
