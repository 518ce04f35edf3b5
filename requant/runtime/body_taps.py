"""Taps in bodies: all that a value was, as a sequence that leaves the body.

    If      S' = S + [v] in the branch of v, S in the other one
    Loop    S' = S + [v] in each iteration; S is carried
    Scan    is made the Loop that it stands for

Each value keeps its shape, which may differ between iterations; a branch that is not taken adds none.
"""

from collections.abc import Iterable

import onnx_ir as ir
from onnx_ir.convenience import replace_nodes_and_values

from ..ir.build import insert_behind
from ..ir.names import fresh_name
from ..ir.traverse import bodies, nodes_within
from .scan import as_loop


class BodyTaps:
    """The taps in the bodies of ``graph``, which they change; ``values`` are those of the graph by name."""

    def __init__(self, graph: ir.Graph) -> None:
        self._graph = graph
        self.values = ir.convenience.create_value_mapping(graph)
        self._owners = {body: node for node in nodes_within(graph) for body in bodies(node)}

    def tap(self, name: str) -> None:
        """Let the main graph have a sequence called ``name`` in place of the value in a body, which is renamed."""
        body, path = self.values[name].graph, list[ir.Graph]()
        while body is not self._graph:
            assert isinstance(body, ir.Graph)
            path.append(body)
            body = self._owner(body).graph
        value = self.values[name]  # what a Scan's body takes is another value in the Loop that it became
        value.name = fresh_name(self._graph, f"{name}.inside")
        empty = ir.node("SequenceEmpty", [], {"dtype": int(value.dtype or ir.DataType.FLOAT)})
        self._graph.insert_before(self._owner(path[-1]), empty)
        result = self._through(path, self._named(empty.outputs[0], value), value)
        result.name = name
        self.values[name] = result

    def _owner(self, body: ir.Graph) -> ir.Node:
        """Return the node that ``body`` belongs to, an If or a Loop by now."""
        owner = self._owners[body]
        if owner.op_type == "Scan":
            owner, replacements = as_loop(owner, self._graph)
            self._owners[body] = owner
            self._note(replacements)
        return owner

    def _through(self, path: list[ir.Graph], sequence: ir.Value, value: ir.Value) -> ir.Value:
        """Return ``sequence`` with ``value``, which is in the first body of ``path``, behind the owner of the last."""
        if not path:
            insertion = ir.node("SequenceInsert", [sequence, value])
            assert isinstance(value.graph, ir.Graph)
            insert_behind(value.graph, value, [insertion])
            return self._named(insertion.outputs[0], value)
        *inner, body = path
        owner = self._owner(body)
        if owner.op_type == "If":
            body.outputs.append(self._through(inner, sequence, value))
            for branch in bodies(owner):
                if branch is not body:
                    branch.append(ir.node("Identity", [sequence]))
                    branch.outputs.append(self._named(branch[-1].outputs[0], value))
            owner.resize_outputs(len(owner.outputs) + 1)
            return self._named(owner.outputs[-1], value)
        state = self._named(ir.Value(), value)
        body.inputs.append(state)
        body.outputs.insert(len(body.inputs) - 2, self._through(inner, state, value))
        return self._carried(owner, sequence, value)

    def _carried(self, loop: ir.Node, sequence: ir.Value, value: ir.Value) -> ir.Value:
        """Replace ``loop`` by one that carries ``sequence`` behind its other states; return what comes out."""
        inputs, attributes = [*loop.inputs, sequence], list(loop.attributes.values())
        states, graph = len(loop.inputs) - 2, loop.graph
        assert isinstance(graph, ir.Graph)
        new_loop = ir.Node("", "Loop", inputs, attributes, num_outputs=len(loop.outputs) + 1, name=loop.name)
        result = new_loop.outputs[states]
        others = [output for output in new_loop.outputs if output is not result]
        replace_nodes_and_values(graph, loop, [loop], [new_loop], loop.outputs, others)
        self._owners.update(dict.fromkeys(bodies(new_loop), new_loop))
        self._note(others)
        return self._named(result, value)

    def _note(self, replacements: Iterable[ir.Value]) -> None:
        """Note values that took the names of others."""
        self.values.update({value.name: value for value in replacements if value.name})

    def _named(self, sequence: ir.Value, value: ir.Value) -> ir.Value:
        """Give ``sequence`` a name, and the type of a sequence of what ``value`` is."""
        sequence.name = fresh_name(self._graph, f"{value.name}.sequence")
        sequence.type = ir.SequenceType(ir.TensorType(value.dtype or ir.DataType.FLOAT))
        return sequence
