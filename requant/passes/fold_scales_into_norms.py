"""LayerNorm(x; γ, β) / d = LayerNorm(x; γ/d, β/d), and the readers' weights take d back."""

from dataclasses import dataclass, field

from ..ir.rewrite.basis import Basis
from ..ir.sites.find import Site
from .observation import Observation
from .site_rewrite import SiteRewrite
from .solvers import SmoothQuant, Solver


@dataclass(frozen=True)
class FoldScalesIntoNorms(SiteRewrite):
    """Fold a per-channel scale into every norm.

    Attributes:
        solver: how the scale is chosen: SmoothQuant's factor, or another of `requant.passes.solvers`.
    """

    solver: Solver = field(default_factory=SmoothQuant)

    def solve(self, site: Site, observation: Observation) -> tuple[Solver, Basis]:
        """The scale of the one solver that there is."""
        return self.solver, self.solver(observation)
