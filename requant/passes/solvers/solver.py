"""The protocol of solvers."""

from typing import Protocol

from ...ir.transform.transform import ChannelTransform
from ..cost_model.observation import Observation


class Solver(Protocol):
    """A function from the observation of a site to a transform for it; its ``str`` is its name in reports.

    The scale is finite and positive for any observation, and the shift is 0 where none is allowed.
    """

    def __call__(self, observation: Observation) -> ChannelTransform: ...
