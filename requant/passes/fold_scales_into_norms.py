"""LayerNorm(x; γ, β) / d = LayerNorm(x; γ/d, β/d), and the consumers' weights take d back."""

from dataclasses import dataclass, field

from ..ir.channels.find import Site
from .channel_pass import ChannelPass
from .cost_model.loss import Assessment, assess
from .cost_model.observation import Observation
from .solvers import SmoothQuant, Solver


@dataclass(frozen=True)
class FoldScalesIntoNorms(ChannelPass):
    """Fold a per-channel scale into every norm.

    Attributes:
        solver: how the scale is chosen: SmoothQuant's factor, or another of `requant.passes.solvers`.
    """

    solver: Solver = field(default_factory=SmoothQuant)

    def solve(self, site: Site, observation: Observation) -> tuple[Solver, Assessment]:
        """The scale of the one solver that there is."""
        return self.solver, assess(observation, self.solver, self.formats)
