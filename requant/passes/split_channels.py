"""A few channels that set the range of a value get copies, so that each copy is smaller: X W = Σ_copies X/n · W.

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
from ..ir.transform.split import split
from ..ir.transform.transform import ChannelTransform
from .cost_model.channel_copies import copies
from .cost_model.observation import ORDER, Observation, Part, observe
from .cost_model.search import CANDIDATES, EXPLICIT_ROOM, NODE_PRICE, search
from .records import SITES, SiteRecord, site_records
from .select_layers import is_direct
from .solvers import Solver

ALIGNMENT = 16
"""Integer kernels like widths that are multiples of it, so as many channels are added."""

LEAST_GAIN = 0.2
"""Share of the loss that a split has to save: the extra channels are computed every time."""


@dataclass(frozen=True)
class SplitChannels(ir.passes.InPlacePass):
    """Give copies to the hardest channels of what element-wise functions write, where that saves much of the loss.

    Needs statistics (`requant.calib.collect`), and carries them along. The transform that makes copies small is left to
    `SearchTransforms`. Sources: QLLM (Liu et al., 2024), section 4.1; outlier channel splitting (Zhao et al., 2019).

    Attributes:
        share: how many channels may be added, as a share of those that are there.
        candidates: the solvers that the gain is judged by.
        formats: what the loss imagines data and weights to be coded in.
    """

    share: float = 0.02
    candidates: tuple[Solver, ...] = CANDIDATES
    formats: tuple[Format, ...] = (INT8,)

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        done = [self._treat(site, region) for site, region in _places(model)]
        model.meta[SITES] = (*site_records(model), *done)
        return ir.passes.PassResult(model, any(not record.reason for record in done))

    def _treat(self, site: Site, region: Region | str) -> SiteRecord:
        record, observation = SiteRecord(type(self).__name__, "Split", site.name), observe(site)
        if isinstance(region, str):
            return replace(record, reason=region)
        if any(is_direct(linear) for linear in region.consumers):
            return replace(record, reason="its consumers are to have the codes as the layer before writes them")
        if observation is None or len(observation.parts) != 1:
            return replace(record, reason="nothing that reads it is quantized")
        counts = copies(_difficulty(observation), self._extra(region.channels))
        order = np.concatenate([np.arange(region.channels), np.repeat(np.arange(region.channels), counts - 1)])
        before, after = (self._price(seen) for seen in (observation, _split(observation, order, counts)))
        record = replace(
            record,
            values=(site.name,),
            consumers=tuple(linear.name for linear in region.consumers),
            solver=f"{len(order) - region.channels} copies of {int((counts > 1).sum())} channels",
            error_before=before,
            error_after=after,
        )
        if after > before * (1 - LEAST_GAIN):
            return replace(record, reason=f"{record.solver} save too little")
        split(region, counts)
        for value in region.values:
            _carry(value, order)
        return record

    def _extra(self, channels: int) -> int:
        return int(np.ceil(self.share * channels / ALIGNMENT)) * ALIGNMENT

    def _price(self, observation: Observation) -> float:
        return search(observation, self.candidates, _explicit_price, self.formats, EXPLICIT_ROOM).price


def _places(model: ir.Model) -> Iterator[tuple[Site, Region | str]]:
    """Values that would need a transform of their own, each region once."""
    seen: set[ir.Value] = set()
    free = [site for site in find_sites(model) if isinstance(site, Site)]
    for site in find_inserted(model, free):
        if isinstance(site, Site) and len(site.values) == 1 and site.values[0] not in seen:
            region = find_region(site.values[0])
            seen.update(() if isinstance(region, str) else region.values)
            yield site, region


def _explicit_price(transform: ChannelTransform) -> float:
    return 1 + NODE_PRICE * (int(transform.scales) + int(transform.shifts))


def _difficulty(observation: Observation) -> NDArray[np.float64]:
    """What no transform takes from a channel: its reach times the weights that read it."""
    weights = np.linalg.norm(observation.parts[0].matrix, axis=1)
    difficulty: NDArray[np.float64] = observation.reach(observation.centre) * weights
    return difficulty


def _split(observation: Observation, order: NDArray[np.intp], counts: NDArray[np.intp]) -> Observation:
    """What would be observed after the split."""
    (part,) = observation.parts
    matrix = part.matrix[order] / counts.astype(np.float32)[order, None]
    wide = Part(part.statistics.taken(order), np.arange(len(order)), matrix)
    return replace(observation, channels=len(order), parts=(wide,), order=order)


def _carry(value: ir.Value, order: NDArray[np.intp]) -> None:
    known = statistics(value)
    if known is not None:
        value.meta[META] = known.taken(order)
    value.meta[ORDER] = order
