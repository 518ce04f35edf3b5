"""From settled variables to sites: who takes part in each, with maps into the site's own channels."""

from collections import defaultdict
from dataclasses import dataclass, field

import numpy as np

from ..linear import Linear
from ..norms import Norm
from .channel_values import AnalysisState
from .constraints import Solution, Variables, known
from .reshape import ChannelMap
from .site import Consumer, InverseEdge, Operand, Producer, Refusal, Site, Source


@dataclass
class Found:
    """What a walk came across, with maps into the constraints's variables."""

    producers: list[tuple[Source, Variables]] = field(default_factory=list)
    consumers: list[tuple[Linear, Variables]] = field(default_factory=list)
    refused: list[Refusal] = field(default_factory=list)


@dataclass
class _Parts:
    producers: list[Producer] = field(default_factory=list)
    consumers: list[Consumer] = field(default_factory=list)
    restored: list[InverseEdge] = field(default_factory=list)
    operands: list[Operand] = field(default_factory=list)
    variables: list[tuple[Variables, Variables]] = field(default_factory=list)
    kinds: list[str] = field(default_factory=list)


def assemble(found: Found, walk: AnalysisState, settled: Solution) -> tuple[list[Site], list[Refusal]]:
    """The sites in the order of their first producers, and the norms that are none."""
    parts: dict[int, _Parts] = defaultdict(_Parts)

    def sites_of(channels: ChannelMap) -> list[tuple[_Parts, ChannelMap]]:
        """The sites that ``channels`` belong to, and where they are within each."""
        numbers = settled.site[channels]
        present = np.unique(numbers[numbers >= 0])
        return [(parts[int(i)], np.where(numbers == i, settled.channel[channels], -1)) for i in present]

    for source, variables in found.producers:
        for part, channels in sites_of(variables):
            part.producers.append(Producer(source, channels))
            part.variables.append((variables, channels))
    for linear, along in found.consumers:
        for part, channels in sites_of(along):
            part.consumers.append(Consumer(linear, channels))
    for slot, channels in walk.edges:
        for part, inside in sites_of(channels):
            part.restored.append(InverseEdge(slot, inside))
    for slot, channels in walk.operands:
        for part, inside in sites_of(channels):
            part.operands.append(Operand(slot, inside))
    for channels, kind in walk.kinds:
        for part, _ in sites_of(channels):
            part.kinds.append(kind)
    sites = {index: _site(part, int(settled.sizes[index]), settled) for index, part in sorted(parts.items())}
    useful = [site for site in sites.values() if site.consumers or site.kind == "QK"]
    return useful, [*found.refused, *_refused_norms(found, useful, settled)]


def _site(part: _Parts, size: int, settled: Solution) -> Site:
    shifted = [variables[(channels >= 0) & (channels < size)] for variables, channels in part.variables]
    return Site(
        kind=_kind(part),
        name=(part.producers[0].source.output.name if part.producers else "") or "?",
        channels=size,
        producers=tuple(part.producers),
        consumers=tuple(part.consumers),
        restored=tuple(part.restored),
        operands=tuple(part.operands),
        shift_blocked=settled.why_fixed(np.concatenate([*shifted, np.zeros(0, np.intp)])),
    )


def _kind(part: _Parts) -> str:
    """The first producer's kind if that is a norm, else what the channels passed through."""
    first = part.producers[0].source
    if isinstance(first, Norm):
        return first.kind
    named = next((kind for kind in ("QK", "Attention", "GatedMLP") if kind in part.kinds), None)
    return named or ("Linear" if isinstance(first, Linear) else "Embedding")


def _refused_norms(found: Found, sites: list[Site], settled: Solution) -> list[Refusal]:
    """Norms that belong to no site, each with its reason."""
    taken = {producer.source.output for site in sites for producer in site.producers}
    refused = []
    for source, variables in found.producers:
        if isinstance(source, Norm) and source.output not in taken:
            pinned = bool((settled.pinned[known(variables)] >= 0).any())
            reason = settled.why_pinned(variables) if pinned else "no linear layer reads it"
            refused.append(Refusal(source.kind, source.output.name or "?", reason))
    return refused
