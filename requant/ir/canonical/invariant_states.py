"""States that a Loop or a Scan hands on as they are, read from outside of it instead.

    Loop (s) { s' = s }    =    s, in the body and behind it

Converters from frameworks whose bodies capture nothing, such as PaddlePaddle's, make a state of every weight.
"""

import logging
from collections.abc import Iterator
from dataclasses import dataclass

import onnx_ir as ir
from onnx_ir.convenience import replace_all_uses_with, replace_nodes_and_values

from ..refusal import declined
from ..traverse import bodies, graphs_within, origin

_LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True)
class _State:
    """A state of a node, by its positions among the node's inputs, its outputs, and those of its body."""

    node_input: int
    node_output: int
    body_input: int
    body_output: int


class CaptureInvariantStates(ir.passes.InPlacePass):
    """Let the bodies of Loop and Scan read what they only hand on."""

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        nodes = [node for graph in graphs_within(model.graph) for node in graph if node.op_type in _STATES]
        modified = [_capture(node, body) for node in nodes for body in bodies(node)]
        return ir.passes.PassResult(model, any(modified))


def _loop_states(node: ir.Node) -> Iterator[_State]:
    for index in range(2, len(node.inputs)):
        yield _State(index, index - 2, index, index - 1)


def _scan_states(node: ir.Node) -> Iterator[_State]:
    for index in range(len(node.inputs) - node.attributes.get_int("num_scan_inputs", 0)):
        yield _State(index, index, index, index)


_STATES = {"Loop": _loop_states, "Scan": _scan_states}


def _capture(node: ir.Node, body: ir.Graph) -> bool:
    """Remove the states that ``node`` hands on as they are; returns True if there was one."""
    invariant = [state for state in _STATES[node.op_type](node) if _is_invariant(node, body, state)]
    for state in reversed(invariant):
        initial = node.inputs[state.node_input]
        assert initial is not None
        body.outputs.pop(state.body_output)  # first: it may be the input itself
        replace_all_uses_with(body.inputs[state.body_input], initial)
        replace_all_uses_with(node.outputs[state.node_output], initial)
        body.inputs.pop(state.body_input)
    if invariant:
        _replace(node, invariant)
    return bool(invariant)


def _is_invariant(node: ir.Node, body: ir.Graph, state: _State) -> bool:
    """Tell whether the body returns the state as it takes it, and nothing keeps it from being captured."""
    value, result = body.inputs[state.body_input], body.outputs[state.body_output]
    if origin(result, through={"Identity"}) is not value or len(node.outputs) <= state.node_output:
        return False
    output = node.outputs[state.node_output]
    if output.is_graph_output():
        declined(_LOGGER, node, f"{output.name!r}, which it hands on as it is, is an output of the graph")
        return False
    if sum(other is value for other in body.outputs) > (result is value):
        declined(_LOGGER, node, f"{value.name!r}, which it hands on as it is, is returned twice")
        return False
    return True


def _replace(node: ir.Node, invariant: list[_State]) -> None:
    """Replace ``node`` by one without the states, whose body lacks them by now."""
    graph = node.graph
    assert isinstance(graph, ir.Graph)
    gone = {state.node_input for state in invariant}, {state.node_output for state in invariant}
    inputs = [value for index, value in enumerate(node.inputs) if index not in gone[0]]
    outputs = [value for index, value in enumerate(node.outputs) if index not in gone[1]]
    attributes = list(node.attributes.values())
    new_node = ir.Node("", node.op_type, inputs, attributes, num_outputs=len(outputs), name=node.name)
    replace_nodes_and_values(graph, node, [node], [new_node], outputs, new_node.outputs)
