"""From solved constraints to sites: the participants of each, with maps into the site's own channels."""

from collections import defaultdict
from dataclasses import dataclass, field

import numpy as np

from ..linear import Linear
from ..norms import Norm
from ..refusal import Refusal
from .channel_values import AnalysisState
from .constraints import Solution, Variables, variables_of
from .reshape import ChannelMap
from .site import AddedConstant, Consumer, InverseEdge, Producer, Site, SiteKind, Source


@dataclass
class Participants:
    """The sources and linears that a walk came across, with maps into the variables, and norms that are no source."""

    producers: list[tuple[Source, Variables]] = field(default_factory=list)
    consumers: list[tuple[Linear, Variables]] = field(default_factory=list)
    refusals: list[Refusal] = field(default_factory=list)


@dataclass
class _SiteParts:
    producers: list[Producer] = field(default_factory=list)
    consumers: list[Consumer] = field(default_factory=list)
    inverse_edges: list[InverseEdge] = field(default_factory=list)
    added_constants: list[AddedConstant] = field(default_factory=list)
    variables: list[tuple[Variables, Variables]] = field(default_factory=list)
    kinds: list[str] = field(default_factory=list)


def assemble(participants: Participants, state: AnalysisState, solution: Solution) -> tuple[list[Site], list[Refusal]]:
    """Return the sites in the order of their first producers, and the norms that are none."""
    parts: dict[int, _SiteParts] = defaultdict(_SiteParts)

    def sites_of(channels: ChannelMap) -> list[tuple[_SiteParts, ChannelMap]]:
        """List the sites that ``channels`` belong to, with their positions in each."""
        numbers = solution.site[channels]
        present = np.unique(numbers[numbers >= 0])
        return [(parts[int(i)], np.where(numbers == i, solution.channel[channels], -1)) for i in present]

    for source, variables in participants.producers:
        for part, channels in sites_of(variables):
            part.producers.append(Producer(source, channels))
            part.variables.append((variables, channels))
    for linear, variables in participants.consumers:
        for part, channels in sites_of(variables):
            part.consumers.append(Consumer(linear, channels))
    for slot, channels in state.inverse_edges:
        for part, inside in sites_of(channels):
            part.inverse_edges.append(InverseEdge(slot, inside))
    for slot, channels in state.added_constants:
        for part, inside in sites_of(channels):
            part.added_constants.append(AddedConstant(slot, inside))
    for channels, kind in state.kinds:
        for part, _ in sites_of(channels):
            part.kinds.append(kind)
    sites = {index: _site(part, int(solution.sizes[index]), solution) for index, part in sorted(parts.items())}
    useful = [site for site in sites.values() if site.consumers or site.kind == "QK"]
    return useful, [*participants.refusals, *_refused_norms(participants, useful, solution)]


def _site(part: _SiteParts, size: int, solution: Solution) -> Site:
    shiftable = [variables[(channels >= 0) & (channels < size)] for variables, channels in part.variables]
    return Site(
        kind=_kind(part),
        name=(part.producers[0].source.output.name if part.producers else "") or "?",
        channels=size,
        producers=tuple(part.producers),
        consumers=tuple(part.consumers),
        inverse_edges=tuple(part.inverse_edges),
        added_constants=tuple(part.added_constants),
        shift_blocked=solution.no_shift_reason(np.concatenate([*shiftable, np.zeros(0, np.intp)])),
    )


def _kind(part: _SiteParts) -> SiteKind:
    """Return the first producer's kind if that is a norm, else the kind of what the channels passed through."""
    first = part.producers[0].source
    if isinstance(first, Norm):
        return first.kind
    kinds: tuple[SiteKind, ...] = ("QK", "Attention", "GatedMLP")
    default: SiteKind = "Linear" if isinstance(first, Linear) else "Embedding"
    return next((kind for kind in kinds if kind in part.kinds), default)


def _refused_norms(participants: Participants, sites: list[Site], solution: Solution) -> list[Refusal]:
    """List the norms that belong to no site, each with its reason."""
    outputs = {producer.source.output for site in sites for producer in site.producers}
    refusals = []
    for source, variables in participants.producers:
        if isinstance(source, Norm) and source.output not in outputs:
            reason = solution.pin_reason(variables_of(variables)) or "no linear layer reads it"
            refusals.append(Refusal(source.kind, source.output.name or "?", reason))
    return refusals
