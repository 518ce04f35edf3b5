"""The plan of a Q/DQ graph, under the names that an engine's builder gives back: its products and attentions."""

from collections.abc import Iterator
from dataclasses import dataclass

import onnx_ir as ir

from .rules.attention import attentions
from .rules.qdq_graph import QdqGraph
from .rules.qdq_nodes import ProductOperand

_FORMATS = {
    ir.DataType.INT8: "int8", ir.DataType.UINT8: "int8", ir.DataType.INT4: "int4", ir.DataType.UINT4: "int4",
    ir.DataType.FLOAT8E4M3FN: "fp8",
}  # fmt: skip
"""The format of integers by their type, whatever their zero point."""


@dataclass(frozen=True)
class PlannedProduct:
    """A linear layer: the name of its node, and the formats of its data and its weight; empty where these are float."""

    name: str
    data: str
    weight: str

    @property
    def format(self) -> str:
        """The format that its kernel has to read data in; empty where the plan says nothing of it."""
        return self.data if self.weight else ""


@dataclass(frozen=True)
class PlannedAttention:
    """An attention: the names of its products, and the format of all their operands; empty where one is float."""

    products: tuple[str, ...]
    format: str

    @property
    def name(self) -> str:
        """The name of its last product."""
        return self.products[-1]


def planned_products(graph: QdqGraph) -> Iterator[PlannedProduct]:
    """Iterate over the layers with a constant weight."""
    for layer in graph.layers.values():
        if layer.weight is not None:
            data = next(operand for operand in layer.operands if not operand.constant)
            yield PlannedProduct(graph.label(layer.node), _format(data), _format(layer.weight))


def planned_attentions(graph: QdqGraph) -> Iterator[PlannedAttention]:
    """Iterate over the attentions: decomposed ones, and those that are one node."""
    for block in attentions(graph):
        layers = block.scores, block.mixture
        formats = {_format(operand) for layer in layers for operand in layer.operands}
        yield PlannedAttention(
            tuple(graph.label(layer.node) for layer in layers), formats.pop() if len(formats) == 1 else ""
        )
    for node in graph.model.graph.all_nodes():
        if node.op_type == "Attention":
            yield PlannedAttention((graph.label(node),), "")


def _format(operand: ProductOperand) -> str:
    return _FORMATS.get(operand.dequantizer.dtype, "") if operand.dequantizer is not None else ""
