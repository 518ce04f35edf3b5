"""Building of new nodes, and their insertion into a graph."""

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
import onnx_ir as ir
from onnx_ir.convenience import replace_nodes_and_values
from onnx_ir.tape import Tape

from .constants import constant
from .names import fresh_name

Input: TypeAlias = ir.Value | float | list[int] | None
Attribute: TypeAlias = str | float | list[int] | ir.Attr

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


def insert_behind(graph: ir.Graph, value: ir.Value, nodes: Sequence[ir.Node]) -> None:
    """Insert ``nodes`` behind the producer of ``value``, or first in ``graph`` where that has none."""
    producer = value.producer()
    if producer is not None and producer.graph is graph:
        graph.insert_after(producer, nodes)
    else:
        graph.insert_before(graph[0], nodes)
