"""The plan of a Q/DQ graph, under the names that an engine's builder gives back: its products and attentions."""

from collections.abc import Iterator
from dataclasses import dataclass

import onnx_ir as ir

from .rules.attention import attentions
from .rules.qdq_graph import QdqGraph
from .rules.qdq_nodes import Layer

_FORMATS = {ir.DataType.INT8: "int8", ir.DataType.FLOAT8E4M3FN: "fp8"}


@dataclass(frozen=True)
class PlannedProduct:
    """A linear layer: the name of its node, and the format of both operands; empty where one is float."""

    name: str
    format: str


@dataclass(frozen=True)
class PlannedAttention:
    """An attention: the name of its second product, and of both."""

    name: str
    products: tuple[str, str]


def unambiguous(model: ir.Model) -> None:
    """Give each node of ``model`` that has no name, or that of another, one of its own."""
    names = set[str]()
    for index, node in enumerate(model.graph.all_nodes()):
        if not node.name or node.name in names:
            node.name = f"{node.op_type}.{index}"
            while node.name in names:
                node.name += "_"
        names.add(node.name)


def planned_products(graph: QdqGraph) -> Iterator[PlannedProduct]:
    """Iterate over the layers with a constant weight."""
    for layer in graph.layers.values():
        if layer.weight is not None:
            yield PlannedProduct(graph.label(layer.node), _format(layer))


def planned_attentions(graph: QdqGraph) -> Iterator[PlannedAttention]:
    """Iterate over the attentions that are decomposed."""
    for block in attentions(graph):
        first, second = graph.label(block.scores.node), graph.label(block.mixture.node)
        yield PlannedAttention(second, (first, second))


def _format(layer: Layer) -> str:
    if len(layer.dequantizers) < 2:
        return ""
    activation = next(operand.dequantizer for operand in layer.operands if not operand.constant)
    return _FORMATS.get(activation.dtype, "") if activation is not None else ""
