"""Building of new nodes, and their insertion into a graph."""

from collections.abc import Iterator, Sequence
from typing import TypeAlias

import numpy as np
import onnx_ir as ir
from onnx_ir.convenience import replace_nodes_and_values
from onnx_ir.tape import Tape

from .constants import constant
from .names import fresh_name

Input: TypeAlias = ir.Value | float | list[int] | None
Attribute: TypeAlias = str | float | list[int] | ir.Attr

Operand: TypeAlias = ir.Value | float | list[int]

Outputs: TypeAlias = Sequence[ir.Value | None]
"""The values that replace the outputs of a node; None for an output that has no replacement."""


class NodeBuilder:
    """A tape of nodes that replace ``node``."""

    def __init__(self, graph: ir.Graph, node: ir.Node, opset: int) -> None:
        self.node, self.opset = node, opset
        self._graph, self._tape = graph, Tape()

    def op(self, op_type: str, *inputs: Input, **attributes: Attribute) -> ir.Value:
        """Append a standard op. Numbers among its inputs have the type of the node, lists of numbers are int64."""
        return self.multi_output_op("", op_type, 1, *inputs, **attributes)[0]

    def multi_output_op(
        self, domain: str, op_type: str, outputs: int, *inputs: Input, **attributes: Attribute
    ) -> Sequence[ir.Value]:
        """Append an op of any domain with several outputs."""
        values = [self._constant(value) if isinstance(value, int | float | list) else value for value in inputs]
        name = f"{self.node.name or self.node.outputs[0].name}.{len(self._tape.nodes)}.{op_type}"
        results = self._tape.op_multi_out(op_type, values, attributes, num_outputs=outputs, domain=domain, name=name)
        for position, value in enumerate(results):
            value.name = f"{name}.{position}"
        return results

    def sum(self, *values: ir.Value | None) -> ir.Value:
        """Append Adds over all of ``values`` that are not None."""
        total, *terms = (value for value in values if value is not None)
        for term in terms:
            total = self.op("Add", total, term)
        return total

    def replace(self, outputs: Outputs) -> None:
        """Replace the node by the tape and its outputs by ``outputs``, None for an output that is not used."""
        pairs = [
            (old, self._on_tape(new)) for old, new in zip(self.node.outputs, outputs, strict=False) if new is not None
        ]
        old, new = zip(*pairs, strict=True)
        producer = new[0].producer()
        if producer is not None:
            producer.name = self.node.name
        replace_nodes_and_values(self._graph, self.node, [self.node], self._tape.nodes, old, new)

    def _on_tape(self, value: ir.Value) -> ir.Value:
        """Return ``value``, or an Identity of it where its producer is not on the tape, so that it keeps its name."""
        return value if value.producer() in self._tape.nodes else self.op("Identity", value)

    @property
    def dtype(self) -> ir.DataType | None:
        """The type of the node's first input that has one."""
        return next((value.dtype for value in self.node.inputs if value is not None and value.dtype is not None), None)

    def _constant(self, data: float | list[int]) -> ir.Value:
        dtype = ir.DataType.INT64 if isinstance(data, list) else self.dtype or ir.DataType.FLOAT
        return constant(self._graph, np.array(data, dtype.numpy()), f"{self.node.outputs[0].name}.constant")


def describe(
    graph: ir.Graph, value: ir.Value, name: str, shape: ir.Shape | None, dtype: ir.DataType | None
) -> ir.Value:
    """Give the new ``value`` of ``graph`` a shape, a type and ``name``, with a number where that is in use."""
    value.name, value.shape = fresh_name(graph, name), shape
    value.type = ir.TensorType(dtype) if dtype is not None else None
    return value


def precede(
    graph: ir.Graph, node: ir.Node, position: int, op_type: str, *operands: Operand, **attributes: Attribute
) -> ir.Value:
    """Let ``node`` read ``op_type`` of what it reads at ``position``; returns that."""
    value = node.inputs[position]
    assert value is not None
    name = f"{value.name}.{op_type.lower()}"
    new_node = ir.node(op_type, [value, *_operands(graph, value, operands)], attributes, name=f"{node.name}.{name}")
    graph.insert_before(node, new_node)
    output = describe(graph, new_node.outputs[0], name, None, value.dtype)
    node.replace_input_with(position, output)
    return output


def follow(graph: ir.Graph, node: ir.Node, op_type: str, *operands: Operand, **attributes: Attribute) -> ir.Node:
    """Let every consumer of the output of ``node`` read ``op_type`` of it instead, under the old name."""
    value, name = node.outputs[0], node.outputs[0].name
    inputs = [value, *_operands(graph, value, operands)]
    new_node = ir.node(op_type, inputs, attributes, name=f"{node.name}.{op_type.lower()}")
    output = new_node.outputs[0]
    output.shape, output.type = value.shape, value.type
    graph.insert_after(node, new_node)
    ir.convenience.replace_all_uses_with(value, output, replace_graph_outputs=True)
    new_node.replace_input_with(0, value)
    describe(graph, value, f"{name}.{node.op_type.lower()}", None, value.dtype)
    output.name = name
    return new_node


def _operands(graph: ir.Graph, value: ir.Value, operands: Sequence[Operand]) -> Iterator[ir.Value]:
    """Yield ``operands``, of which numbers have the type of ``value``, and lists of numbers are int64."""
    for operand in operands:
        if isinstance(operand, ir.Value):
            yield operand
        else:
            dtype = ir.DataType.INT64 if isinstance(operand, list) else value.dtype or ir.DataType.FLOAT
            yield constant(graph, np.array(operand, dtype.numpy()), f"{value.name}.constant")


def insert_behind(graph: ir.Graph, value: ir.Value, nodes: Sequence[ir.Node]) -> None:
    """Insert ``nodes`` behind the producer of ``value``, or first in ``graph`` where that has none."""
    producer = value.producer()
    if producer is not None and producer.graph is graph:
        graph.insert_after(producer, nodes)
    else:
        graph.insert_before(graph[0], nodes)
