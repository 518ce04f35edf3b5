"""Sites: the places where a per-channel basis can be changed without changing what the model computes.

    X' = (X - t) / d        W' = diag(d) W        b' = b + t W        ⇒  X' W' + b' = X W + b

A site is a norm that can produce X', every linear that reads X and takes diag(d) and t W, and every other
reader, which is handed X = X' d + t. Norms whose readers share a weight are one site with one (d, t).
"""

import heapq
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from .channels import ImmovableError, along_axis, is_mover, last_axis, move
from .linear import Linear, as_linear
from .norms import Norm, Slot, find_norms
from .regroup import ChannelMap

_BLIND = ("Shape", "Size")
"""Ops that look at a value's shape alone: any basis will do."""


@dataclass(frozen=True)
class Reader:
    """A linear that absorbs the basis; ``channels[i]`` is the site's channel at its input channel i."""

    linear: Linear
    channels: NDArray[np.intp]


@dataclass(frozen=True)
class Restored:
    """An input of another node, which is handed X = X' d + t; ``channels`` broadcasts against that input."""

    slot: Slot
    channels: ChannelMap


@dataclass(frozen=True)
class Site:
    """Values that share one channel basis (d, t), and who takes part in changing it.

    ``norms`` produce X' at no cost; without any, X' is computed for the readers by nodes of its own.
    ``fixed_shift`` is the reason why t must be 0, or None when a shift is allowed.
    """

    norms: tuple[Norm, ...]
    readers: tuple[Reader, ...]
    restored: tuple[Restored, ...]
    fixed_shift: str | None

    @property
    def kind(self) -> str:
        """What produces the values: "LayerNorm", "RMSNorm" or "Explicit"."""
        return self.norms[0].kind if self.norms else "Explicit"

    @property
    def channels(self) -> int:
        """Number of channels C."""
        return self.norms[0].channels if self.norms else self.readers[0].linear.inputs

    @property
    def values(self) -> tuple[ir.Value, ...]:
        """The values that are re-based: one, or one for each norm that is tied to the others by a shared weight."""
        return tuple(norm.output for norm in self.norms) or (self.readers[0].linear.data,)

    @property
    def name(self) -> str:
        """The value that the site re-bases (the first, when several norms are tied)."""
        return self.values[0].name or "?"


@dataclass(frozen=True)
class Refused:
    """A place that looks like a site and is none."""

    kind: str
    name: str
    reason: str


@dataclass
class _Region:
    readers: list[Reader] = field(default_factory=list)
    restored: list[Restored] = field(default_factory=list)
    fixed_shift: str | None = None


class _RefusalError(Exception):
    """The place is no site; the text says why."""


def find_sites(model: ir.Model) -> list[Site | Refused]:
    """Every norm of the main graph as a site, or refused with its reason, in graph order.

    Takes time linear in the number of nodes between norms and their readers; reads no weights.
    """
    order = {node: index for index, node in enumerate(model.graph)}
    found: list[Site | Refused] = []
    for norm in find_norms(model.graph):
        if isinstance(norm, tuple):
            node, reason = norm
            found.append(Refused(node.op_type, node.outputs[0].name or "?", reason))
            continue
        try:
            region = _explore(norm, order)
            found.append(Site((norm,), tuple(region.readers), tuple(region.restored), region.fixed_shift))
        except _RefusalError as refusal:
            found.append(Refused(norm.kind, norm.output.name or "?", str(refusal)))
    return list(_tie(found))


def _explore(norm: Norm, order: dict[ir.Node, int]) -> _Region:
    """Follow the channels of ``norm`` to all readers, in graph order so that inputs come first."""
    region, maps = _Region(), {norm.output: last_axis(norm.channels, _rank(norm.output))}
    queue: list[tuple[int, ir.Node]] = []
    queued: set[ir.Node] = set()

    def announce(value: ir.Value) -> None:
        if value.is_graph_output():
            raise _RefusalError(f"{value.name!r} is an output of the graph, so its values must stay as they are")
        for use in value.uses():
            if use.node not in order:
                raise _RefusalError(f"{value.name!r} is read inside the body of another node")
            if use.node not in queued:
                queued.add(use.node)
                heapq.heappush(queue, (order[use.node], use.node))

    announce(norm.output)
    while queue:
        _, node = heapq.heappop(queue)
        for value, channels in _visit(node, maps, region):
            maps[value] = channels
            announce(value)
    if not region.readers:
        raise _RefusalError("no linear layer reads it")
    return region


def _visit(node: ir.Node, maps: dict[ir.Value, ChannelMap], region: _Region) -> Iterator[tuple[ir.Value, ChannelMap]]:
    """Let ``node`` move the channels on, absorb them, or be handed the restored value."""
    if node.domain == "" and node.op_type in _BLIND:
        return
    inputs = [maps.get(value) if value is not None else None for value in node.inputs]
    if is_mover(node):
        try:
            yield from zip(node.outputs, move(node, inputs), strict=False)  # Dropout's mask is no data
            return
        except ImmovableError:
            pass
    linear = as_linear(node)
    if linear and inputs[0] is not None and (channels := _absorbed(linear, inputs[0])) is not None:
        region.readers.append(Reader(linear, channels))
        if linear.padded:
            region.fixed_shift = f"{linear.name!r} pads its input with zeros"
        inputs[0] = None
    region.restored.extend(
        Restored((node, position), channels) for position, channels in enumerate(inputs) if channels is not None
    )


def _absorbed(linear: Linear, channels: ChannelMap) -> NDArray[np.intp] | None:
    """The site's channel at each input channel of ``linear``, if the channels are what it contracts."""
    along = along_axis(channels, linear.data_axis)
    return along if along is not None and len(along) == linear.inputs else None


def _tie(found: list[Site | Refused]) -> Iterator[Site | Refused]:
    """Merge sites whose readers share a weight; refuse one whose weight is also read outside of any site."""
    sites = [site for site in found if isinstance(site, Site)]
    owners: dict[ir.Value, list[Site]] = {}
    for site in sites:
        for weight in {reader.linear.weight for reader in site.readers}:
            owners.setdefault(weight, []).append(site)
    groups = _groups(sites, owners)
    done: set[int] = set()
    for item in found:
        if isinstance(item, Refused):
            yield item
        elif id(group := groups[id(item)]) not in done:
            done.add(id(group))
            yield _merged(group)


def _groups(sites: list[Site], owners: dict[ir.Value, list[Site]]) -> dict[int, list[Site]]:
    groups = {id(site): [site] for site in sites}
    for sharing in owners.values():
        for other in sharing[1:]:
            first, second = groups[id(sharing[0])], groups[id(other)]
            if first is not second:
                first.extend(second)
                groups.update({id(site): first for site in second})
    return groups


def _merged(group: list[Site]) -> Site | Refused:
    readers = tuple(reader for site in group for reader in site.readers)
    site = Site(
        tuple(norm for site in group for norm in site.norms),
        readers,
        tuple(edge for site in group for edge in site.restored),
        next((site.fixed_shift for site in group if site.fixed_shift), None),
    )
    reason = conflict(site)
    return Refused(site.kind, site.name, reason) if reason else site


def conflict(site: Site) -> str | None:
    """Why the weights of ``site`` cannot be rewritten, or None: only the site's readers may read them."""
    seen: dict[ir.Value, tuple[int, tuple[int, ...]]] = {}
    nodes = {reader.linear.node for reader in site.readers}
    if len({norm.channels for norm in site.norms}) > 1:
        return "norms of different widths share a weight"
    for reader in site.readers:
        weight = reader.linear.weight
        order = (reader.linear.in_axis, tuple(reader.channels))
        if seen.setdefault(weight, order) != order:
            return f"weight {weight.name!r} is read twice with its channels in different orders"
        strangers = [use.node for use in weight.uses() if use.node not in nodes or use.idx != 1]
        if strangers:
            return f"weight {weight.name!r} is also read by {strangers[0].name or strangers[0].op_type!r}"
        if weight.is_graph_output():
            return f"weight {weight.name!r} is an output of the graph"
    return None


def _rank(value: ir.Value) -> int:
    if value.shape is None:
        raise _RefusalError(f"the rank of {value.name!r} is unknown")
    return len(value.shape)
