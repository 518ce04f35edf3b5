"""What every pass that re-transforms sites does: solve, rewrite, carry the statistics along, record.

for each site:  (d, t) = solve(what was observed);  X' = (X - t) / d
"""

import logging
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from ..calib.collect import META, is_calibrated, statistics
from ..calib.statistics import ChannelStatistics
from ..ir.channels.find import Refusal, Site, find_sites
from ..ir.conv_outputs import activated
from ..ir.formats import INT8, Format
from ..ir.linear import Linear
from ..ir.names import forget_names
from ..ir.transform.apply import apply_transform
from ..ir.transform.transform import ChannelTransform
from .cost_model.loss import Assessment, loss
from .cost_model.observation import Observation, observe, observed
from .cost_model.range_margin import note_margin
from .records import SITES, SiteRecord, site_records, summary
from .solvers import Solver

NORMS = ("LayerNorm", "RMSNorm", "BatchNorm")
"""Kinds of sites that a norm feeds."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Solved:
    """The transform for a site that was looked at, or none where the record says why."""

    record: SiteRecord
    site: Site | None = None
    transform: ChannelTransform | None = None
    margins: tuple[float, ...] = ()

    def left(self, reason: str) -> "Solved":
        """The same site, left as it is for a ``reason``."""
        return Solved(replace(self.record, scale={}, shift={}, error_after=self.record.error_before, reason=reason))


class ChannelPass(ir.passes.InPlacePass):
    """Base of the exact passes; a subclass says how a site is solved.

    Needs statistics (`requant.calib.collect`), and carries them along in closed form.
    """

    formats: tuple[Format, ...] = (INT8,)
    """What the loss imagines data and weights to be coded in."""

    @abstractmethod
    def solve(self, site: Site, observation: Observation) -> tuple[Solver, Assessment]:
        """The solver for ``site``, and what it gives."""

    def places(self, model: ir.Model) -> Iterator[Site | Refusal]:
        """The sites to transform, one after the other: those that a norm feeds."""
        yield from (site for site in find_sites(model) if site.kind in NORMS)

    def requires(self, model: ir.Model) -> None:
        """Raise PreconditionError when the model was not calibrated; read the names of the graph anew."""
        forget_names(model.graph)
        if not is_calibrated(model):
            raise ir.passes.PreconditionError("no statistics: run requant.calib.collect(model, feeds) first")

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        return self.recorded(model, [self.applied(self.solved(site)) for site in self.places(model)])

    def recorded(self, model: ir.Model, done: Sequence[SiteRecord]) -> ir.passes.PassResult:
        """The result of the pass, whose records the model keeps."""
        for record in done:
            logger.debug("%s %s: %s", record.kind, record.name, record.reason or record.solver)
        model.meta[SITES] = (*site_records(model), *done)
        return ir.passes.PassResult(model, any(not record.reason for record in done))

    def solved(self, site: Site | Refusal) -> Solved:
        """What the site is to be transformed to; changes nothing yet."""
        record = SiteRecord(type(self).__name__, site.kind, site.name)
        if isinstance(site, Refusal):
            return Solved(replace(record, reason=site.reason))
        observation = observe(site)
        if observation is None:
            return Solved(replace(record, reason="it was not calibrated along its channels"))
        if not observation.parts:
            return Solved(replace(record, reason="nothing that reads it is quantized"))
        before = loss(observation, ChannelTransform.identity(site.channels), self.formats)
        solver, (transform, after, margins) = self.solve(site, observation)
        names = tuple(value.name or "?" for value in site.values)
        consumers = tuple(consumer.linear.name for consumer in site.consumers)
        record = replace(
            record, values=names, consumers=consumers, restored=len(site.restored), solver=repr(solver),
            scale=summary(transform.scale), shift=summary(transform.shift), error_before=before, error_after=after,
        )  # fmt: skip
        if transform.is_identity:
            return Solved(replace(record, reason="no transform is better than what is there"))
        return Solved(record, site, transform, margins)

    def applied(self, solved: Solved) -> SiteRecord:
        """Transform the site, if there is anything to do, and say what that took."""
        if solved.site is None or solved.transform is None:
            return solved.record
        return replace(solved.record, added_nodes=apply(solved.site, solved.transform, solved.margins))


def apply(site: Site, transform: ChannelTransform, margins: Sequence[float] = ()) -> int:
    """Transform the graph and the statistics on what linear layers read and write; returns the number of nodes added.

    ``margins`` are those of the values that quantized layers read, in the order of `observed`.
    """
    inputs = {consumer.linear.node: statistics(consumer.linear.current_data) for consumer in site.consumers}
    read = [consumers[0].linear.node for consumers in observed(site)]
    written = list(_written(site))
    handed = {edge.slot: statistics(edge.slot[0].inputs[edge.slot[1]]) for edge in site.restored}
    added = apply_transform(site, transform)
    for conv, channels, value, known in written:
        if activated(conv) is value:
            _carry(value, known, transform.at(channels))
    for (node, position), known in handed.items():
        _carry(node.inputs[position], known, ChannelTransform.identity(1))
    for consumer in {consumer.linear.node.inputs[0]: consumer for consumer in site.consumers}.values():
        _carry(consumer.linear.node.inputs[0], inputs[consumer.linear.node], transform.at(consumer.channels))
    for node, margin in zip(read, margins, strict=False):
        note_margin(node.inputs[0], margin)
    return added


def _written(site: Site) -> Iterator[tuple[Linear, NDArray[np.intp], ir.Value, ChannelStatistics | None]]:
    """The linear layers that write the site, its channels, and what is known of what an engine may have to round."""
    for producer in site.producers:
        if isinstance(producer.source, Linear):
            value = activated(producer.source)
            yield producer.source, producer.channels, value, statistics(value)


def _carry(value: ir.Value | None, known: ChannelStatistics | None, transform: ChannelTransform) -> None:
    """Leave on ``value`` what follows in closed form from what was known before the rewrite.

    That is nothing where ``value`` was looked at along another axis, for another layer that reads it.
    """
    if value is not None and known is not None:
        fits = len(transform.scale) in (1, len(known.minimum))
        value.meta[META] = known.transformed(transform.scale, transform.shift) if fits else None
