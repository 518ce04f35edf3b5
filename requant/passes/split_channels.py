"""Split channels: the few that set the range of a value get copies, so that each is smaller: X W = Σ_copies X/n · W.

It is done where a linear layer writes the value, element-wise ops follow, and an inserted transform pays. Copies
cost no node; they make a few values a little wider.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from ..calib.collect import META, statistics
from ..ir.channels.find import find_sites
from ..ir.channels.inserted import find_inserted
from ..ir.channels.regions import Region, find_region
from ..ir.channels.site import Site
from ..ir.formats import INT8, Format
from ..ir.refusal import Refusal
from ..ir.transform.split import split
from ..ir.transform.transform import ChannelTransform
from .annotations import CHANNEL_ORDER, SITES, is_direct, site_records
from .cost_model.channel_copies import copies
from .cost_model.observation import Observation, observe
from .cost_model.part import Part
from .cost_model.search import CANDIDATES, INSERTED_MARGIN_SHARE, NODE_PENALTY, search
from .records import SiteRecord
from .solvers import Solver

ALIGNMENT = 16
"""Integer kernels like widths that are multiples of it, so as many channels are added."""

LEAST_GAIN = 0.2
"""Share of the loss that a split has to save: the extra channels are computed every time."""


@dataclass(frozen=True)
class SplitChannels(ir.passes.InPlacePass):
    """A pass that copies the hardest channels of element-wise functions' outputs, where that saves much of the loss.

    Needs statistics (`requant.calib.collect`), and carries them along. The transform that makes copies small is left to
    `SearchTransforms`. Reads the annotations `KEPT`, `SKIPPED` and `DIRECT`; writes `CHANNEL_ORDER` and `SITES`.
    Sources: QLLM (Liu et al., 2024), section 4.1; outlier channel splitting (Zhao et al., 2019).

    Attributes:
        share: the most channels that may be added, as a share of those that are there.
        candidates: the solvers that the gain is judged by.
        formats: the formats of data and weights for which the loss is computed.
    """

    share: float = 0.02
    candidates: tuple[Solver, ...] = CANDIDATES
    formats: tuple[Format, ...] = (INT8,)

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        records = [self._split(site, region) for site, region in _regions(model)]
        SITES.set(model, (*site_records(model), *records))
        return ir.passes.PassResult(model, any(not record.reason for record in records))

    def _split(self, site: Site, region: Region | Refusal) -> SiteRecord:
        record, observation = SiteRecord(type(self).__name__, "Split", site.name), observe(site)
        if isinstance(region, Refusal):
            return replace(record, reason=region.reason)
        if any(is_direct(linear) for linear in region.consumers):
            return replace(record, reason="its consumers read the integers that the layer before them writes")
        if observation is None or len(observation.parts) != 1:
            return replace(record, reason="none of its consumers is quantized")
        counts = copies(_difficulty(observation), self._extra(region.channels))
        order = np.concatenate([np.arange(region.channels), np.repeat(np.arange(region.channels), counts - 1)])
        before, after = (self._loss(one) for one in (observation, _with_copies(observation, order, counts)))
        record = replace(
            record,
            values=(site.name,),
            consumers=tuple(linear.name for linear in region.consumers),
            solver=f"{len(order) - region.channels} copies of {int((counts > 1).sum())} channels",
            error_before=before,
            error_after=after,
        )
        if after > before * (1 - LEAST_GAIN):
            return replace(record, reason=f"{record.solver} would save less than {100 * LEAST_GAIN:g} % of the loss")
        split(region, counts)
        for value in region.values:
            _carry(value, order)
        return record

    def _extra(self, channels: int) -> int:
        return int(np.ceil(self.share * channels / ALIGNMENT)) * ALIGNMENT

    def _loss(self, observation: Observation) -> float:
        return search(
            observation, self.candidates, _inserted_penalty, self.formats, INSERTED_MARGIN_SHARE
        ).penalized_loss


def _regions(model: ir.Model) -> Iterator[tuple[Site, Region | Refusal]]:
    """Yield the values that would need an inserted transform, each region once."""
    visited: set[ir.Value] = set()
    sites = [site for site in find_sites(model) if isinstance(site, Site)]
    for site in find_inserted(model, sites):
        if isinstance(site, Site) and len(site.values) == 1 and site.values[0] not in visited:
            region = find_region(site.values[0])
            visited.update(() if isinstance(region, Refusal) else region.values)
            yield site, region


def _inserted_penalty(transform: ChannelTransform) -> float:
    return 1 + NODE_PENALTY * (int(transform.scales) + int(transform.shifts))


def _difficulty(observation: Observation) -> NDArray[np.float64]:
    """Return what no transform takes from each channel: its reach times the norm of the weights that read it."""
    weights = np.linalg.norm(observation.parts[0].matrix, axis=1)
    difficulty: NDArray[np.float64] = observation.reach(observation.centre) * weights
    return difficulty


def _with_copies(observation: Observation, order: NDArray[np.intp], counts: NDArray[np.intp]) -> Observation:
    """Return the observation that there would be after the split."""
    (part,) = observation.parts
    matrix = part.matrix[order] / counts.astype(np.float32)[order, None]
    split_part = Part(part.statistics.taken(order), np.arange(len(order)), matrix)
    return replace(observation, channels=len(order), parts=(split_part,), order=order)


def _carry(value: ir.Value, order: NDArray[np.intp]) -> None:
    """Leave on ``value`` its statistics and the order of its channels after the split."""
    stats = statistics(value)
    if stats is not None:
        value.meta[META] = stats.taken(order)
    CHANNEL_ORDER.set(value, order)
