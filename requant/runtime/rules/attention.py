"""What the rules look for in attention: softmax(Q Kᵀ) V."""

from collections.abc import Iterator
from dataclasses import dataclass

import onnx_ir as ir

from .parts import Layer
from .qdq_graph import View
from .rule import Violation
from .traverse import MOVERS, PAIR, consumers

_BETWEEN = PAIR | MOVERS | {"Div", "Mul", "Add", "Sub", "Where"}
"""Ops between Q Kᵀ and the softmax."""


@dataclass(frozen=True)
class Attention:
    """The two products of activations around a softmax."""

    scores: Layer
    mixture: Layer

    @property
    def in_float(self) -> list[str]:
        """Those of its four operands that are not quantized."""
        operands = zip(("Q", "K", "softmax", "V"), self.scores.operands + self.mixture.operands, strict=True)
        return [name for name, operand in operands if operand.step is None]


def partial_attention(view: View) -> Iterator[Violation]:
    """An attention with some of its operands quantized, but not all."""
    for attention in attentions(view):
        if 0 < len(attention.in_float) < 4:
            yield attention.mixture.node, ", ".join(attention.in_float)


def attentions(view: View) -> Iterator[Attention]:
    """Every attention that is written out."""
    for node in view.model.graph.all_nodes():
        if node.op_type == "Softmax":
            scores = _scores(node, view)
            behind = (view.layers.get(end) for end in consumers(node.outputs[0], MOVERS | PAIR) if end is not None)
            mixture = next((layer for layer in behind if layer is not None and layer.weight is None), None)
            if scores is not None and mixture is not None:
                yield Attention(scores, mixture)


def _scores(softmax: ir.Node, view: View) -> Layer | None:
    """The product of two activations that ``softmax`` is of."""
    waiting, met = list(softmax.inputs), set[ir.Node]()
    while waiting:
        value = waiting.pop()
        node = value.producer() if value is not None else None
        if node is None or node in met:
            continue
        met.add(node)
        layer = view.layers.get(node)
        if layer is not None and layer.weight is None:
            return layer
        if node.op_type in _BETWEEN:
            waiting.extend(node.inputs)
    return None
