"""Migrate channel shifts: X W + b = (X - t) W + (b + t W), and outlier channels are scaled down."""

from dataclasses import dataclass

from ..ir.channels.find import Site
from ..ir.formats import INT8, Format
from .channel_pass import ChannelPass
from .cost_model.loss import Assessment, assess
from .cost_model.observation import Observation
from .solvers import OutlierSuppressionPlus, Solver


@dataclass(frozen=True)
class MigrateChannelShifts(ChannelPass):
    """A pass that moves each channel's centre into the consumers' biases, then scales outlier channels (OS+).

    Attributes:
        steps: the number of thresholds for the scale to try.
        formats: the formats of data and weights for which the loss is computed.
    """

    steps: int = 8
    formats: tuple[Format, ...] = (INT8,)

    def solve(self, site: Site, observation: Observation) -> tuple[Solver, Assessment]:
        """Return the solver of the channel's centre and the best threshold, and its assessment."""
        solver = OutlierSuppressionPlus(self.steps, self.formats)
        return solver, assess(observation, solver, self.formats)
