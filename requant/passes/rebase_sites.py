"""Re-base every site by the solver whose readers' quantized outputs are closest to the float ones.

(d, t) = argmin over the candidates of L(d, t)
"""

import logging
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from ..calib.collect import META, statistics
from ..calib.statistics import ChannelStatistics
from ..ir.cost import added_nodes
from ..ir.explicit import find_explicit
from ..ir.rebase import Basis, rebase
from ..ir.sites import Refused, Site, find_sites
from .loss import loss
from .observation import Observation, observe
from .records import SITES, SiteRecord, site_records, summarized
from .solvers import Keep, RepQ, Shift, SmoothQuant, Solver

logger = logging.getLogger(__name__)

CANDIDATES: tuple[Solver, ...] = (
    Keep(),
    Shift(),
    *(RepQ(alpha) for alpha in (0.5, 0.75, 1.0)),
    *(SmoothQuant(alpha) for alpha in (0.5, 0.6, 0.7, 0.8, 0.9)),
    *(SmoothQuant(alpha, shift=True) for alpha in (0.5, 0.6, 0.7, 0.8, 0.9)),
)
"""What the default recipe tries at each site."""

NODE_PRICE = 0.3
"""By how much of its loss a candidate must be better for each node that it adds at inference."""


@dataclass(frozen=True)
class RebaseSites(ir.passes.InPlacePass):
    """Every site takes the candidate of least loss; the graph computes the same before and after.

    Needs statistics (`requant.calib.collect`), and carries them along in closed form.

    Attributes:
        candidates: the solvers to choose from; with one there is no choice.
        bits: width of the quantizers that the loss imagines.
        explicit: also re-base what no norm feeds, by a Mul and an Add of its own where they pay.
    """

    candidates: tuple[Solver, ...] = CANDIDATES
    bits: int = 8
    explicit: bool = True

    def requires(self, model: ir.Model) -> None:
        """Raise PreconditionError unless some value was calibrated."""
        if not any(statistics(value) for node in model.graph for value in node.outputs):
            raise ir.passes.PreconditionError("no statistics: run requant.calib.collect(model, feeds) first")

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        sites = find_sites(model)
        done = [self._treat(site) for site in sites]
        if self.explicit:
            covered = [site for site in sites if isinstance(site, Site)]
            done += [self._treat(site) for site in list(find_explicit(model, covered))]
        for record in done:
            logger.debug("%s %s: %s", record.kind, record.name, record.reason or record.solver)
        model.meta[SITES] = (*site_records(model), *done)
        return ir.passes.PassResult(model, any(not record.reason for record in done))

    def _treat(self, site: Site | Refused) -> SiteRecord:
        title = type(self).__name__
        if isinstance(site, Refused):
            return SiteRecord(title, site.kind, site.name, reason=site.reason)
        observation = observe(site)
        if observation is None:
            return SiteRecord(title, site.kind, site.name, reason="it was not calibrated")
        if not observation.weights:
            return SiteRecord(title, site.kind, site.name, reason="all that read it stay in float")
        before = loss(observation, Basis.identity(site.channels), self.bits)
        solver, basis, after = self._choose(site, observation)
        names = tuple(value.name or "?" for value in site.values)
        readers = tuple(reader.linear.name for reader in site.readers)
        added = 0 if basis.is_identity else apply(site, basis)
        return SiteRecord(
            title, site.kind, site.name, names, readers, len(site.restored), repr(solver),
            **summarized(basis), error_before=before, error_after=after, added_nodes=added,
            reason="no candidate is better than what is there" if basis.is_identity else "",
        )  # fmt: skip

    def _choose(self, site: Site, observation: Observation) -> tuple[Solver, Basis, float]:
        solved = [(solver, solver(observation)) for solver in self.candidates]
        scored = [(solver, basis, loss(observation, basis, self.bits)) for solver, basis in solved]
        return min(scored, key=lambda item: item[2] * (1 + NODE_PRICE * added_nodes(site, item[1])))


def apply(site: Site, basis: Basis) -> int:
    """Re-base the graph and the statistics on its values; returns the number of nodes added."""
    outputs = {norm.output: statistics(norm.output) for norm in site.norms}
    inputs = {reader.linear.node: statistics(reader.linear.data) for reader in site.readers}
    added = rebase(site, basis)
    for value, known in outputs.items():
        _carry(value, known, basis.scale, basis.shift)
    for reader in {reader.linear.node.inputs[0]: reader for reader in site.readers}.values():
        scale, shift = basis.scale[reader.channels], basis.shift[reader.channels]
        _carry(reader.linear.node.inputs[0], inputs[reader.linear.node], scale, shift)
    return added


def _carry(
    value: ir.Value | None, known: ChannelStatistics | None, scale: NDArray[np.float64], shift: NDArray[np.float64]
) -> None:
    """Leave on ``value`` what follows in closed form from what was known before the rewrite."""
    if value is not None and known is not None:
        value.meta[META] = known.rebased(scale, shift)
