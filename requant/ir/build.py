"""Putting several nodes in the place of one."""

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
import onnx_ir as ir
from onnx_ir.convenience import convert_attributes, replace_nodes_and_values

from .constants import constant

Input: TypeAlias = ir.Value | float | list[int] | None
Attribute: TypeAlias = str | float | list[int] | ir.Attr

Outputs: TypeAlias = Sequence[ir.Value | None]
"""What stands for each output of the whole; None for one that cannot be had."""


class Parts:
    """Nodes that are to take the place of ``whole``."""

    def __init__(self, graph: ir.Graph, whole: ir.Node, opset: int) -> None:
        self.whole, self.opset = whole, opset
        self._graph = graph
        self._nodes: list[ir.Node] = []

    def op(self, op_type: str, *inputs: Input, **attributes: Attribute) -> ir.Value:
        """Append a standard op. Numbers among its inputs are of the whole's type, lists of numbers are int64."""
        return self.ops("", op_type, 1, *inputs, **attributes)[0]

    def ops(
        self, domain: str, op_type: str, outputs: int, *inputs: Input, **attributes: Attribute
    ) -> Sequence[ir.Value]:
        """Append an op of any domain with several outputs."""
        values = [self._constant(value) if isinstance(value, int | float | list) else value for value in inputs]
        node = ir.Node(domain, op_type, values, convert_attributes(attributes), num_outputs=outputs)
        node.name = f"{self.whole.name or self.whole.outputs[0].name}.{len(self._nodes)}.{op_type}"
        for position, value in enumerate(node.outputs):
            value.name = f"{node.name}.{position}"
        self._nodes.append(node)
        return node.outputs

    def sum(self, *values: ir.Value | None) -> ir.Value:
        """Append Adds over all of ``values`` that are there."""
        total, *others = (value for value in values if value is not None)
        for other in others:
            total = self.op("Add", total, other)
        return total

    def take_place(self, outputs: Sequence[ir.Value | None]) -> None:
        """Put each of ``outputs`` in the place of the whole's output there, or None where nobody reads that."""
        pairs = [
            (old, self._own(new)) for old, new in zip(self.whole.outputs, outputs, strict=False) if new is not None
        ]
        old, new = zip(*pairs, strict=True)
        maker = new[0].producer()
        if maker is not None:
            maker.name = self.whole.name
        replace_nodes_and_values(self._graph, self.whole, [self.whole], self._nodes, old, new)

    def _own(self, value: ir.Value) -> ir.Value:
        """``value``, or an Identity of it where it is no part of the whole and has to keep its name."""
        return value if value.producer() in self._nodes else self.op("Identity", value)

    @property
    def dtype(self) -> ir.DataType | None:
        """The type of the whole's first input that has one."""
        return next((value.dtype for value in self.whole.inputs if value is not None and value.dtype is not None), None)

    def _constant(self, data: float | list[int]) -> ir.Value:
        dtype = ir.DataType.INT64 if isinstance(data, list) else self.dtype or ir.DataType.FLOAT
        return constant(self._graph, np.array(data, dtype.numpy()), f"{self.whole.outputs[0].name}.constant")
