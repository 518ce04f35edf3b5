"""Re-base every site by the solver whose readers' quantized outputs are closest to the float ones.

(d, t) = argmin over the candidates of L(d, t)
"""

import logging
from dataclasses import dataclass

import onnx_ir as ir

from ..calib.collect import META, statistics
from ..ir.rebase import Basis, rebase
from ..ir.sites import Refused, Site, find_sites
from .loss import loss
from .observation import Observation, observe
from .records import SITES, SiteRecord, site_records, summarized
from .solvers import Awq, Keep, OutlierSuppressionPlus, RepQ, Shift, SmoothQuant, Solver

logger = logging.getLogger(__name__)

CANDIDATES: tuple[Solver, ...] = (
    Keep(),
    Shift(),
    *(RepQ(alpha) for alpha in (0.25, 0.5, 0.75, 1.0)),
    *(SmoothQuant(alpha) for alpha in (0.4, 0.5, 0.6, 0.7, 0.8, 0.9)),
    *(SmoothQuant(alpha, shift=True) for alpha in (0.4, 0.5, 0.6, 0.7, 0.8, 0.9)),
    Awq(0.5),
    OutlierSuppressionPlus(),
)
"""What the default recipe tries at each site."""


@dataclass(frozen=True)
class RebaseSites(ir.passes.InPlacePass):
    """Every site takes the candidate of least loss; the graph computes the same before and after.

    Needs statistics (`requant.calib.collect`), and carries them along in closed form.

    Attributes:
        candidates: the solvers to choose from; with one there is no choice.
        bits: width of the quantizers that the loss imagines.
    """

    candidates: tuple[Solver, ...] = CANDIDATES
    bits: int = 8

    def requires(self, model: ir.Model) -> None:
        """Raise PreconditionError unless some value was calibrated."""
        if not any(statistics(value) for node in model.graph for value in node.outputs):
            raise ir.passes.PreconditionError("no statistics: run requant.calib.collect(model, feeds) first")

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        done = [self._treat(site) for site in find_sites(model)]
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
        before = loss(observation, Basis.identity(site.channels), self.bits)
        solver, basis, after = self._choose(observation)
        names = tuple(norm.output.name or "?" for norm in site.norms)
        readers = tuple(reader.linear.name for reader in site.readers)
        added = 0 if basis.is_identity else apply(site, basis)
        return SiteRecord(
            title, site.kind, site.name, names, readers, len(site.restored), repr(solver),
            **summarized(basis), error_before=before, error_after=after, added_nodes=added,
            reason="no candidate is better than what is there" if basis.is_identity else "",
        )  # fmt: skip

    def _choose(self, observation: Observation) -> tuple[Solver, Basis, float]:
        solved = [(solver, solver(observation)) for solver in self.candidates]
        scored = [(solver, basis, loss(observation, basis, self.bits)) for solver, basis in solved]
        return min(scored, key=lambda item: item[2])


def apply(site: Site, basis: Basis) -> int:
    """Re-base the graph and the statistics on its values; returns the number of nodes added."""
    before = {reader.linear.node: statistics(reader.linear.data) for reader in site.readers}
    outputs = [statistics(norm.output) for norm in site.norms]
    added = rebase(site, basis)
    for norm, known in zip(site.norms, outputs, strict=True):
        if known is not None:
            norm.output.meta[META] = known.rebased(basis.scale, basis.shift)
    done: set[ir.Value] = set()
    for reader in site.readers:
        data, known = reader.linear.node.inputs[0], before[reader.linear.node]
        if data is not None and known is not None and data not in done:
            done.add(data)
            data.meta[META] = known.rebased(basis.scale[reader.channels], basis.shift[reader.channels])
    return added
