"""What a solver is."""

from typing import Protocol

from ...ir.transform.transform import ChannelTransform
from ..cost_model.observation import Observation


class Solver(Protocol):
    """Maps what was observed at a site to a transform for it.

    The scale is finite and positive whatever was observed, and the shift is 0 where none is allowed.
    """

    def __call__(self, observation: Observation) -> ChannelTransform: ...
