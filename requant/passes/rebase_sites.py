"""Re-base every site by the solver whose readers' quantized outputs are closest to the float ones.

(d, t) = argmin over the candidates of  L(d, t) · (1 + 0.3 n)        n nodes added at inference
"""

from collections.abc import Iterator
from dataclasses import dataclass

import onnx_ir as ir

from ..ir.rewrite.basis import Basis
from ..ir.rewrite.cost import added_nodes
from ..ir.sites.explicit import find_explicit
from ..ir.sites.find import Refused, Site, find_sites
from .cheapest import CANDIDATES, EXPLICIT_ROOM, ROOM, cheapest
from .observation import Observation
from .site_rewrite import SiteRewrite
from .solvers import Solver


@dataclass(frozen=True)
class RebaseSites(SiteRewrite):
    """Every site takes the candidate of least loss.

    Attributes:
        candidates: the solvers to choose from.
        bits: width of the quantizers that the loss imagines.
        explicit: also re-base what no norm feeds, by a Mul and an Add of its own where they pay.
    """

    candidates: tuple[Solver, ...] = CANDIDATES
    bits: int = 8
    explicit: bool = True

    def places(self, model: ir.Model) -> Iterator[Site | Refused]:
        """The sites that somebody upstream pays for; then, in the graph that these have left, all others."""
        found = find_sites(model)
        sites = [site for site in found if isinstance(site, Site)]
        yield from sites
        if self.explicit:
            yield from find_explicit(model, sites)
        else:
            yield from (site for site in found if isinstance(site, Refused))

    def solve(self, site: Site, observation: Observation) -> tuple[Solver, Basis]:
        """The candidate of least loss, counting what its nodes cost."""
        room = ROOM if site.writers else EXPLICIT_ROOM
        choice = cheapest(observation, self.candidates, lambda basis: added_nodes(site, basis), self.bits, room)
        return choice.solver, choice.basis
