"""Fold scales into norms: LayerNorm(x; γ, β) / d = LayerNorm(x; γ/d, β/d), and consumers multiply by d."""

from dataclasses import dataclass, field

from ..ir.channels.find import Site
from .channel_pass import ChannelPass
from .cost_model.loss import Assessment, assess
from .cost_model.observation import Observation
from .solvers import SmoothQuant, Solver


@dataclass(frozen=True)
class FoldScalesIntoNorms(ChannelPass):
    """A pass that folds a per-channel scale into every norm.

    Attributes:
        solver: the solver of the scale: SmoothQuant's factor, or another of `requant.passes.solvers`.
    """

    solver: Solver = field(default_factory=SmoothQuant)

    def solve(self, site: Site, observation: Observation) -> tuple[Solver, Assessment]:
        """Return the solver and its assessment."""
        return self.solver, assess(observation, self.solver, self.formats)
