"""From settled variables to sites: who takes part in each, with maps into the site's own channels."""

from collections import defaultdict
from dataclasses import dataclass, field

import numpy as np

from ..linear import Linear
from ..norms import Norm
from .channel_values import Walk
from .constraints import Settled, Variables, known
from .reshape import ChannelMap
from .site import Operand, Reader, Refused, Restored, Site, Source, Writer


@dataclass
class Found:
    """What a walk came across, with maps into the ledger's variables."""

    writers: list[tuple[Source, Variables]] = field(default_factory=list)
    readers: list[tuple[Linear, Variables]] = field(default_factory=list)
    refused: list[Refused] = field(default_factory=list)


@dataclass
class _Parts:
    writers: list[Writer] = field(default_factory=list)
    readers: list[Reader] = field(default_factory=list)
    restored: list[Restored] = field(default_factory=list)
    operands: list[Operand] = field(default_factory=list)
    variables: list[tuple[Variables, Variables]] = field(default_factory=list)
    kinds: list[str] = field(default_factory=list)


def assemble(found: Found, walk: Walk, settled: Settled) -> tuple[list[Site], list[Refused]]:
    """The sites in the order of their first writers, and the norms that are none."""
    parts: dict[int, _Parts] = defaultdict(_Parts)

    def sites_of(channels: ChannelMap) -> list[tuple[_Parts, ChannelMap]]:
        """The sites that ``channels`` belong to, and where they are within each."""
        numbers = settled.site[channels]
        present = np.unique(numbers[numbers >= 0])
        return [(parts[int(i)], np.where(numbers == i, settled.channel[channels], -1)) for i in present]

    for source, variables in found.writers:
        for part, channels in sites_of(variables):
            part.writers.append(Writer(source, channels))
            part.variables.append((variables, channels))
    for linear, along in found.readers:
        for part, channels in sites_of(along):
            part.readers.append(Reader(linear, channels))
    for slot, channels in walk.edges:
        for part, inside in sites_of(channels):
            part.restored.append(Restored(slot, inside))
    for slot, channels in walk.operands:
        for part, inside in sites_of(channels):
            part.operands.append(Operand(slot, inside))
    for channels, kind in walk.kinds:
        for part, _ in sites_of(channels):
            part.kinds.append(kind)
    sites = {index: _site(part, int(settled.sizes[index]), settled) for index, part in sorted(parts.items())}
    useful = [site for site in sites.values() if site.readers or site.kind == "Product"]
    return useful, [*found.refused, *_refused_norms(found, useful, settled)]


def _site(part: _Parts, size: int, settled: Settled) -> Site:
    shifted = [variables[(channels >= 0) & (channels < size)] for variables, channels in part.variables]
    return Site(
        kind=_kind(part),
        name=(part.writers[0].source.output.name if part.writers else "") or "?",
        channels=size,
        writers=tuple(part.writers),
        readers=tuple(part.readers),
        restored=tuple(part.restored),
        operands=tuple(part.operands),
        fixed_shift=settled.why_fixed(np.concatenate([*shifted, np.zeros(0, np.intp)])),
    )


def _kind(part: _Parts) -> str:
    """The first writer's kind if that is a norm, else what the channels passed through."""
    first = part.writers[0].source
    if isinstance(first, Norm):
        return first.kind
    named = next((kind for kind in ("Product", "Attention", "Gated") if kind in part.kinds), None)
    return named or ("Linear" if isinstance(first, Linear) else "Embedding")


def _refused_norms(found: Found, sites: list[Site], settled: Settled) -> list[Refused]:
    """Norms that belong to no site, each with its reason."""
    taken = {writer.source.output for site in sites for writer in site.writers}
    refused = []
    for source, variables in found.writers:
        if isinstance(source, Norm) and source.output not in taken:
            pinned = bool((settled.pinned[known(variables)] >= 0).any())
            reason = settled.why_pinned(variables) if pinned else "no linear layer reads it"
            refused.append(Refused(source.kind, source.output.name or "?", reason))
    return refused
