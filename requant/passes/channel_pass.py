"""The base of every pass that transforms sites: solve, rewrite, carry the statistics along, record.

for each site:  (d, t) = solve(its statistics);  X' = (X - t) / d
"""

import logging
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import onnx_ir as ir

from ..calib.collect import META, is_calibrated, statistics
from ..calib.statistics import ChannelStatistics
from ..ir.channels.find import Refusal, Site, find_sites
from ..ir.formats import INT8, Format
from ..ir.names import forget_names
from ..ir.transform.apply import apply_transform
from ..ir.transform.transform import ChannelTransform
from .annotations import MARGIN, SITES, site_records
from .cost_model.cancellation import LOST_DIGITS
from .cost_model.loss import Assessment, loss
from .cost_model.observation import Observation, observe, quantized_consumers
from .records import SiteRecord, summary
from .solvers import Solver

NORMS = ("LayerNorm", "RMSNorm", "BatchNorm")
"""Kinds of sites that a norm feeds."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class SiteTransform:
    """The transform for a site, or none where the record has a reason."""

    record: SiteRecord
    site: Site | None = None
    transform: ChannelTransform | None = None
    margins: tuple[float, ...] = ()

    def skipped(self, reason: str) -> "SiteTransform":
        """Return the same site, left as it is for a ``reason``."""
        record = replace(self.record, scale={}, shift={}, error_after=self.record.error_before, reason=reason)
        return SiteTransform(record)


class ChannelPass(ir.passes.InPlacePass):
    """The base of the exact passes; a subclass chooses the solver of a site.

    Needs statistics (`requant.calib.collect`), and carries them along in closed form. Reads the annotations `KEPT` and
    `SKIPPED`; writes `MARGIN` and `SITES`.
    """

    formats: tuple[Format, ...] = (INT8,)
    """The formats of data and weights for which the loss is computed."""

    @abstractmethod
    def solve(self, site: Site, observation: Observation) -> tuple[Solver, Assessment]:
        """Return the solver for ``site`` and its assessment there."""

    def sites(self, model: ir.Model) -> Iterator[Site | Refusal]:
        """Yield the sites to transform, one after the other: those that a norm feeds."""
        yield from (site for site in find_sites(model) if site.kind in NORMS)

    def requires(self, model: ir.Model) -> None:
        """Raise PreconditionError when the model was not calibrated; read the names of the graph anew."""
        forget_names(model.graph)
        if not is_calibrated(model):
            raise ir.passes.PreconditionError("no statistics: run requant.calib.collect(model, feeds) first")

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        return self.result(model, [self.apply(self.choose(site)) for site in self.sites(model)])

    def result(self, model: ir.Model, records: Sequence[SiteRecord]) -> ir.passes.PassResult:
        """Return the result of the pass, and keep its records on the model."""
        for record in records:
            logger.debug("%s %s: %s", record.kind, record.name, record.reason or record.solver)
        SITES.set(model, (*site_records(model), *records))
        return ir.passes.PassResult(model, any(not record.reason for record in records))

    def choose(self, site: Site | Refusal) -> SiteTransform:
        """Choose a transform for the site; changes nothing yet."""
        record = SiteRecord(type(self).__name__, site.kind, site.name)
        if isinstance(site, Refusal):
            return SiteTransform(replace(record, reason=site.reason))
        observation = observe(site)
        if observation is None:
            return SiteTransform(replace(record, reason="it was not calibrated along its channels"))
        if not observation.parts:
            return SiteTransform(replace(record, reason="none of its consumers is quantized"))
        before = loss(observation, ChannelTransform.identity(site.channels), self.formats)
        solver, (transform, after, margins) = self.solve(site, observation)
        names = tuple(value.name or "?" for value in site.values)
        consumers = tuple(consumer.linear.name for consumer in site.consumers)
        record = replace(
            record, values=names, consumers=consumers, restored=len(site.inverse_edges), solver=str(solver),
            scale=summary(transform.scale), shift=summary(transform.shift), error_before=before, error_after=after,
            shift_blocked=site.shift_blocked or ("" if observation.shiftable else LOST_DIGITS),
        )  # fmt: skip
        if transform.is_identity:
            return SiteTransform(replace(record, reason="no candidate has a lower loss than the identity"))
        return SiteTransform(record, site, transform, margins)

    def apply(self, choice: SiteTransform) -> SiteRecord:
        """Transform the site, unless its record has a reason, and return the record with the number of nodes added."""
        if choice.site is None or choice.transform is None:
            return choice.record
        return replace(choice.record, added_nodes=apply(choice.site, choice.transform, choice.margins))


def apply(site: Site, transform: ChannelTransform, margins: Sequence[float] = ()) -> int:
    """Transform the graph and the statistics of what linear layers read; return the number of nodes added.

    ``margins`` are those of the values that quantized layers read, in the order of `quantized_consumers`.
    """
    inputs = {consumer.linear.node: statistics(consumer.linear.current_data) for consumer in site.consumers}
    readers = [consumers[0].linear.node for consumers in quantized_consumers(site)]
    inverses = {edge.slot: statistics(edge.slot[0].inputs[edge.slot[1]]) for edge in site.inverse_edges}
    added = apply_transform(site, transform)
    for (node, position), stats in inverses.items():
        _carry(node.inputs[position], stats, ChannelTransform.identity(1))
    for consumer in {consumer.linear.node.inputs[0]: consumer for consumer in site.consumers}.values():
        _carry(consumer.linear.node.inputs[0], inputs[consumer.linear.node], transform.at(consumer.channels))
    for node, margin in zip(readers, margins, strict=False):
        if node.inputs[0] is not None:
            MARGIN.set(node.inputs[0], margin)
    return added


def _carry(value: ir.Value | None, stats: ChannelStatistics | None, transform: ChannelTransform) -> None:
    """Leave on ``value`` what follows in closed form from its statistics before the rewrite.

    That is nothing where ``value`` was measured along another axis, for another layer that reads it.
    """
    if value is not None and stats is not None:
        fits = len(transform.scale) in (1, len(stats.minimum))
        value.meta[META] = stats.transformed(transform.scale, transform.shift) if fits else None
