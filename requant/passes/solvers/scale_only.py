"""The scale alone, where a shift would cost a node of its own."""

from dataclasses import dataclass, replace

from ...ir.transform.transform import Basis
from ..cost_model.observation import Observation
from .solver import Solver


@dataclass(frozen=True)
class Unshifted:
    """What ``solver`` gives where no shift is allowed."""

    solver: Solver

    def __call__(self, observation: Observation) -> Basis:
        return self.solver(replace(observation, shiftable=False))
