"""X W + b = (X - t) W + (b + t W): each channel is moved to its centre, and outlier channels are scaled down."""

from dataclasses import dataclass

from ..ir.channels.find import Site
from ..ir.formats import INT8, Format
from .channel_pass import ChannelPass
from .cost_model.loss import Assessment, assess
from .cost_model.observation import Observation
from .solvers import OutlierSuppressionPlus, Solver


@dataclass(frozen=True)
class MigrateChannelShifts(ChannelPass):
    """Migrate each channel's centre into the consumers' biases, then scale outlier channels (Outlier Suppression+).

    Attributes:
        steps: how many thresholds for the scale are tried.
        formats: what the search for the threshold imagines data and weights to be coded in.
    """

    steps: int = 8
    formats: tuple[Format, ...] = (INT8,)

    def solve(self, site: Site, observation: Observation) -> tuple[Solver, Assessment]:
        """The channel's centre, and the scale of the best threshold."""
        solver = OutlierSuppressionPlus(self.steps, self.formats)
        return solver, assess(observation, solver, self.formats)
