"""Every place where a per-channel transform can be changed without changing what the model computes.

Sources (norms, linear layers, embeddings) get a variable for each channel they write. One walk in graph order follows
the variables through ops that move or pass them, notes what ties and pins them, and ends at the linear layers that
absorb them and at the ops that do not. What is left free falls into sites.
"""

from collections import Counter
from collections.abc import Container, Iterator

import numpy as np
import onnx_ir as ir

from ..linear import Linear, as_linear, find_linears
from ..norms import Norm, find_norms
from .absorbing import BLIND, blocker, find_absorbing
from .assemble import Found, assemble
from .channel_values import AnalysisState, BlockedError, ChannelValue, ChannelValues
from .constraints import Variables
from .embedding import as_embedding
from .layout import ImmovableError, along_axis, is_mover, last_axis, move
from .refusals import Lost, refused_consumers
from .reshape import ChannelMap
from .site import Consumer, InverseEdge, Producer, Refusal, Site, Source
from .transfer import passes, transfer

__all__ = ["Consumer", "InverseEdge", "Producer", "Refusal", "Site", "find_sites"]


def find_sites(model: ir.Model) -> list[Site | Refusal]:
    """Every site of the main graph in graph order, then every norm and every linear layer's input that is none.

    Takes time linear in the number of nodes and channels; reads no weights.
    """
    walk = _Walker(model.graph)
    for node in model.graph:
        walk.visit(node)
    return walk.conclude()


class _Walker:
    """The walk over one graph; `visit` takes the nodes in order."""

    def __init__(self, graph: ir.Graph) -> None:
        self.nodes: Container[ir.Node] = {*graph}
        self.walk = AnalysisState(find_absorbing(graph))
        self.found, self.lost = Found(), Lost(self.walk.absorbing, self.nodes)
        self.tracks: dict[ir.Value, ChannelValue] = {}
        self.sources: dict[ir.Value, Source] = {}
        self._tables: dict[tuple[ir.Value, int], Variables] = {}
        for norm in find_norms(graph):
            if isinstance(norm, Norm):
                self.sources[norm.output] = norm
            else:
                self.found.refused.append(Refusal(norm[0].op_type, norm[0].outputs[0].name or "?", norm[1]))
        self.linears = {linear.node: linear for linear in find_linears(graph)}
        self.sources.update({linear.output: linear for linear in self.linears.values()})

    def visit(self, node: ir.Node) -> None:
        """Let ``node`` move the channels on, pass them, absorb them, or stop them; then see what it writes itself."""
        tracks = [self.tracks.get(value) if value is not None else None for value in node.inputs]
        if any(track is not None for track in tracks):
            self._follow(node, tracks)
        for value in node.outputs:
            if value not in self.tracks and (source := self.sources.get(value) or as_embedding(node)):
                self._start(source)

    def conclude(self) -> list[Site | Refusal]:
        """Sites and refusals, once all nodes were visited."""
        self._watch_weights()
        settled = self.walk.constraints.solve()
        sites, refused = assemble(self.found, self.walk, settled)
        linears = self.linears.values()
        return [*sites, *refused_consumers(linears, sites, refused, self.lost, settled, self.tracks)]

    def _start(self, source: Source) -> None:
        """Give variables to what ``source`` writes. Sources that share their weight share them."""
        value = source.output
        if isinstance(source, Norm):
            count, axis, key = source.channels, source.axis, (value, 0)
        elif isinstance(source, Linear):
            count, axis, key = source.outputs, source.data_axis, (source.weight, source.out_axis)
        else:
            count, axis, key = source.channels, -1, (source.table, 1)
        absorbed = value in self.walk.absorbing or isinstance(source, Norm) or len(key[0].uses()) > 1
        if value.shape is None or not absorbed:
            if isinstance(source, Norm):
                self.found.refused.append(
                    Refusal(source.kind, value.name or "?", f"the rank of {value.name!r} is unknown")
                )
            return
        constraints = self.walk.constraints
        if key not in self._tables:
            self._tables[key] = constraints.allocate(count, restorable=isinstance(source, Norm))
        variables, rank = self._tables[key], len(value.shape)
        channels = np.moveaxis(variables[last_axis(count, rank)], -1, axis)
        self.tracks[value] = ChannelValue(channels)
        self.found.producers.append((source, variables))
        self._announce(value, channels)

    def _announce(self, value: ir.Value, channels: ChannelMap) -> None:
        """Pin what leaves the graph: it must stay as it is for consumers that are out of reach."""
        if value.is_graph_output() or any(use.node not in self.nodes for use in value.uses()):
            self.walk.constraints.pin(channels, blocker(value, self.nodes, self.walk.absorbing))

    def _follow(self, node: ir.Node, tracks: ChannelValues) -> None:
        if node.domain == "" and node.op_type in BLIND:
            return
        try:
            for value, track in self._outputs(node, tracks):
                self.tracks[value] = track
                self._announce(value, track.channels)
        except (ImmovableError, BlockedError) as reason:
            self.lost.why.update(dict.fromkeys(node.outputs, str(reason)))
            for position, given in enumerate(tracks):
                if given is not None:
                    self.walk.stop((node, position), given, str(reason))

    def _outputs(self, node: ir.Node, tracks: ChannelValues) -> Iterator[tuple[ir.Value, ChannelValue]]:
        if is_mover(node):
            moved = move(node, [track.channels if track else None for track in tracks])
            exact = all(track.exact for track in tracks if track)
            yield from (
                (value, ChannelValue(channels, exact)) for value, channels in zip(node.outputs, moved, strict=False)
            )
        elif (linear := self.linears.get(node)) and tracks[0] is not None:
            self._absorb(linear, tracks[0])
        elif any(passes(node, position) for position in range(len(tracks))):
            if (passed := transfer(node, tracks, self.walk)) is not None:
                yield node.outputs[0], passed
        else:
            raise BlockedError(f"{node.op_type} {node.name!r} takes no transform")

    def _absorb(self, linear: Linear, track: ChannelValue) -> None:
        along = along_axis(track.channels, linear.data_axis)
        if along is None or len(along) != linear.inputs:
            raise BlockedError(f"{linear.name!r} reads it along another axis")
        constraints = self.walk.constraints
        constraints.group(along)
        self.found.consumers.append((linear, along))
        if linear.padded:
            constraints.no_shift(along, f"{linear.name!r} pads its input with zeros")
        if not track.exact:
            constraints.no_shift(along, f"the shift reaches {linear.name!r} scaled")

    def _watch_weights(self) -> None:
        """Tie those that read one weight, and pin those that share a weight with a stranger."""
        constraints, first = self.walk.constraints, dict[ir.Value, tuple[Linear, Variables]]()
        consumers = {linear.node for linear, _ in self.found.consumers}
        for linear, along in self.found.consumers:
            other, tied = first.setdefault(linear.weight, (linear, along))
            if other.in_axis != linear.in_axis or other.inputs != linear.inputs:
                for channels in (tied, along):
                    constraints.pin(channels, f"weight {linear.weight.name!r} is read twice along different axes")
            else:
                constraints.equal(tied, along, f"weight {linear.weight.name!r} is also read by a layer without a site")
                constraints.group(np.concatenate([tied, along]))
            if reason := _stranger(linear.weight, consumers):
                constraints.pin(along, reason)
        producers = {source.node for source, _ in self.found.producers if not isinstance(source, Norm)}
        axes = Counter(weight for weight, _ in self._tables)
        for source, variables in self.found.producers:
            weight = _weight(source)
            if weight is None:
                constraints.group(variables)
            elif reason := _stranger(weight, producers):
                constraints.pin(variables, reason)
            elif axes[weight] > 1:
                constraints.pin(variables, f"weight {weight.name!r} is written through along different axes")


def _weight(source: Source) -> ir.Value | None:
    """What other nodes could share with ``source``; a norm's parameters are replaced, so nobody does."""
    if isinstance(source, Norm):
        return None
    return source.weight if isinstance(source, Linear) else source.table


def _stranger(weight: ir.Value, known: Container[ir.Node]) -> str:
    """Who else uses ``weight``, beside the nodes that are ``known`` to take part; "" for nobody."""
    if weight.is_graph_output():
        return f"weight {weight.name!r} is an output of the graph"
    for use in weight.uses():
        linear = as_linear(use.node)
        if use.node not in known or (linear is not None and linear.weight is not weight):
            return f"weight {weight.name!r} is also read by {use.node.name or use.node.op_type!r}"
    return ""
