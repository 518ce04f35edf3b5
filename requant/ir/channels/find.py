"""The search for every place where a channel transform can be changed without changing what the model computes.

Sources (norms, linear layers, embeddings) get a variable for each channel they produce. One walk in graph order follows
the variables through ops that move them or commute with a scale, collects constraints, and ends at the linear layers
that absorb them and at the ops that block them. The variables that remain free form sites.
"""

from collections.abc import Container, Iterator

import numpy as np
import onnx_ir as ir

from ..collector import paused_collector
from ..linear import Linear, as_linear
from ..norms import Norm, find_norms
from ..ops import SIZES, is_op
from ..quantized import is_quantizer
from ..refusal import Refusal
from ..scaled_hard_swish import gated_product
from ..traverse import graphs_within
from .absorbing import blocking_reason, find_absorbing
from .assemble import Participants, assemble
from .blocked import NOT_COMMUTING, BlockedError
from .channel_values import AnalysisState, ChannelValue, ChannelValues
from .constraints import Variables
from .embedding import as_embedding
from .layout import along_axis, is_movement, last_axis, move
from .refusals import BlockedValues, refuse_inputs
from .reshape import ChannelMap
from .shared_weights import constrain_shared_weights
from .site import Consumer, InverseEdge, Producer, Site, Source
from .transfer import commutes, transfer

__all__ = ["Consumer", "InverseEdge", "Producer", "Refusal", "Site", "find_sites"]


@paused_collector()
def find_sites(model: ir.Model) -> list[Site | Refusal]:
    """Find every site of the main graph in graph order, then every norm and every linear layer's input that is none.

    Those of the body of an If, a Loop or a Scan follow. A site is inside of one graph: what a body reads from outside,
    takes or returns is not transformed. Takes time linear in the number of nodes and channels; reads no weights.
    """
    return [place for graph in graphs_within(model.graph) for place in _sites_of(graph)]


def _sites_of(graph: ir.Graph) -> list[Site | Refusal]:
    """Find the sites and refusals of one graph."""
    analysis = _Analysis(graph)
    for node in graph:
        analysis.visit(node)
    return analysis.sites()


class _Analysis:
    """The walk over one graph; `visit` takes the nodes in order."""

    def __init__(self, graph: ir.Graph) -> None:
        self._nodes: Container[ir.Node] = {*graph}
        self._state = AnalysisState(find_absorbing(graph))
        self._participants, self._blocked = Participants(), BlockedValues(self._state.absorbing, self._nodes)
        self._channel_values: dict[ir.Value, ChannelValue] = {}
        self._sources: dict[ir.Value, Source] = {}
        self._weights: dict[tuple[ir.Value, int], Variables] = {}
        for norm in find_norms(graph):
            if isinstance(norm, Norm):
                self._sources[norm.output] = norm
            else:
                self._participants.refusals.append(norm)
        self._linears = {node: linear for node in graph if (linear := as_linear(node))}
        self._sources.update({linear.output: linear for linear in self._linears.values()})

    def visit(self, node: ir.Node) -> None:
        """Let ``node`` pass channels on, absorb them or block them; then give variables to its own channels."""
        inputs = [self._channel_values.get(value) if value is not None else None for value in node.inputs]
        if any(data is not None for data in inputs):
            self._propagate(node, inputs)
        for value in node.outputs:
            if value not in self._channel_values and (source := self._sources.get(value) or as_embedding(node)):
                self._add_source(source)

    def sites(self) -> list[Site | Refusal]:
        """Return sites and refusals, once all nodes were visited."""
        constrain_shared_weights(self._participants, self._weights, self._state.constraints)
        solution = self._state.constraints.solve()
        sites, norms = assemble(self._participants, self._state, solution)
        linears = self._linears.values()
        return [*sites, *refuse_inputs(linears, sites, norms, self._blocked, solution, self._channel_values)]

    def _add_source(self, source: Source) -> None:
        """Give variables to the channels that ``source`` produces. Sources that share their weight share them."""
        value = source.output
        if isinstance(source, Norm):
            count, axis, key = source.channels, source.axis, (value, 0)
        elif isinstance(source, Linear):
            count, axis, key = source.outputs, source.data_axis, (source.weight, source.out_axis)
        else:
            count, axis, key = source.channels, -1, (source.table, 1)
        useful = value in self._state.absorbing or isinstance(source, Norm) or len(key[0].uses()) > 1
        if value.shape is None or not useful:
            if isinstance(source, Norm):
                refusal = Refusal(source.kind, value.name or "?", f"the rank of {value.name!r} is unknown")
                self._participants.refusals.append(refusal)
            return
        if key not in self._weights:
            self._weights[key] = self._state.constraints.allocate(count, invertible=isinstance(source, Norm))
        variables, rank = self._weights[key], len(value.shape)
        channels = np.moveaxis(variables[last_axis(count, rank)], -1, axis)
        self._channel_values[value] = ChannelValue(channels)
        self._participants.producers.append((source, variables))
        self._pin_external(value, channels)

    def _pin_external(self, value: ir.Value, channels: ChannelMap) -> None:
        """Pin what leaves the graph: its consumers there cannot be changed."""
        if value.is_graph_output() or any(use.node not in self._nodes for use in value.uses()):
            reason = blocking_reason(value, self._nodes, self._state.absorbing)
            assert reason is not None
            self._state.constraints.pin(channels, reason)

    def _propagate(self, node: ir.Node, inputs: ChannelValues) -> None:
        if is_op(node, SIZES):
            return
        if is_quantizer(node):
            for data in filter(None, inputs):
                self._state.constraints.pin(data.channels, "it is quantized already")
            return
        try:
            for value, data in self._outputs(node, inputs):
                self._channel_values[value] = data
                self._pin_external(value, data.channels)
        except BlockedError as error:
            self._blocked.reasons.update(dict.fromkeys(node.outputs, str(error)))
            for position, data_in in enumerate(inputs):
                if data_in is not None:
                    self._state.block((node, position), data_in, str(error))

    def _outputs(self, node: ir.Node, inputs: ChannelValues) -> Iterator[tuple[ir.Value, ChannelValue]]:
        """Yield the outputs of ``node`` that have channels; let it absorb those of its inputs if it is a linear."""
        if is_movement(node):
            maps = move(node, [data.channels if data else None for data in inputs])
            is_exact = all(data.exact for data in inputs if data)
            yield from (
                (value, ChannelValue(channels, is_exact)) for value, channels in zip(node.outputs, maps, strict=False)
            )
        elif (linear := self._linears.get(node)) and inputs[0] is not None:
            self._absorb(linear, inputs[0])
        elif gated_product(node, node.inputs[0]) is not None and inputs[0] is not None:
            # Not by `block`: the node that it takes replaces a kernel, so that the sources need not be norms.
            self._state.inverse_edges.append(((node, 0), inputs[0].channels))
        elif any(commutes(node, position) for position in range(len(inputs))):
            if (output := transfer(node, inputs, self._state)) is not None:
                yield node.outputs[0], output
        else:
            raise BlockedError(node, NOT_COMMUTING)

    def _absorb(self, linear: Linear, data: ChannelValue) -> None:
        variables = along_axis(data.channels, linear.data_axis)
        if variables is None or len(variables) != linear.inputs:
            raise BlockedError(linear.node, "reads the channels along another axis")
        constraints = self._state.constraints
        constraints.group(variables)
        self._participants.consumers.append((linear, variables))
        if reason := linear.shift_blocked:
            constraints.no_shift(variables, f"{linear.name!r} {reason}")
        if not data.exact:
            constraints.no_shift(variables, f"the shift reaches {linear.name!r} scaled")
