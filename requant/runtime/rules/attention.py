"""Searches in attention: softmax(Q Kᵀ) V."""

from collections.abc import Iterator
from dataclasses import dataclass

import onnx_ir as ir

from ...ir.ops import ARITHMETIC
from ...ir.traverse import producers
from .qdq_graph import QdqGraph
from .qdq_nodes import Layer
from .rule import Violation
from .traverse import MOVERS, PAIR, consumers

_SCALE_AND_MASK = PAIR | MOVERS | ARITHMETIC | {"Where"}
"""Ops between Q Kᵀ and the softmax."""


@dataclass(frozen=True)
class Attention:
    """The two products of activations around a softmax."""

    scores: Layer
    mixture: Layer

    @property
    def float_operands(self) -> list[str]:
        """Those of its four operands that are not quantized."""
        operands = zip(("Q", "K", "softmax", "V"), self.scores.operands + self.mixture.operands, strict=True)
        return [name for name, operand in operands if operand.dequantizer is None]


def partial_attention(graph: QdqGraph) -> Iterator[Violation]:
    """Find attention with some of its operands quantized, but not all."""
    for attention in attentions(graph):
        if 0 < len(attention.float_operands) < 4:
            yield attention.mixture.node, ", ".join(attention.float_operands)


def float32_attention(graph: QdqGraph) -> Iterator[Violation]:
    """Find attention that computes in float32, with none of its operands quantized."""
    for attention in attentions(graph):
        is_float32 = attention.scores.node.outputs[0].dtype == ir.DataType.FLOAT
        if is_float32 and len(attention.float_operands) == 4:
            yield attention.mixture.node, "float32"


def attentions(graph: QdqGraph) -> Iterator[Attention]:
    """Iterate over the attention blocks that are decomposed into products and a softmax."""
    for node in graph.model.graph.all_nodes():
        if node.op_type == "Softmax":
            scores = _scores(node, graph)
            ends = (graph.layers.get(end) for end in consumers(node.outputs[0], MOVERS | PAIR) if end is not None)
            mixture = next((layer for layer in ends if layer is not None and layer.weight is None), None)
            if scores is not None and mixture is not None:
                yield Attention(scores, mixture)


def _scores(softmax: ir.Node, graph: QdqGraph) -> Layer | None:
    """Return the product of two activations that ``softmax`` is applied to."""
    layers = (graph.layers.get(node) for node in producers(softmax.inputs, _SCALE_AND_MASK))
    return next((layer for layer in layers if layer is not None and layer.weight is None), None)
