"""Attention as two products of computed values around a softmax: softmax(Q Kᵀ) V."""

from collections.abc import Iterator
from dataclasses import dataclass

import onnx_ir as ir

from .constants import is_constant
from .ops import ARITHMETIC, CONVERSIONS, IDENTITIES, MASKING
from .traverse import nodes_within, producers, sole_use

_SCALE_AND_MASK = ARITHMETIC | CONVERSIONS | MASKING
"""Ops between Q Kᵀ and the softmax."""


@dataclass(frozen=True)
class AttentionBlock:
    """The two products of an attention: ``scores`` reads Q and Kᵀ, ``mixture`` the softmax and V."""

    scores: ir.Node
    mixture: ir.Node

    @property
    def name(self) -> str:
        """The name of its last product."""
        return self.mixture.name or self.mixture.outputs[0].name or self.mixture.op_type

    @property
    def operands(self) -> tuple[ir.Value, ...]:
        """Q, Kᵀ, the softmax and V."""
        return tuple(value for node in (self.scores, self.mixture) for value in node.inputs if value is not None)

    @property
    def head_size(self) -> int | None:
        """The channels of Q; None where that is unknown."""
        return _size(self.scores.inputs[0], -1)

    @property
    def queries(self) -> int | None:
        """The number of queries; None where that is unknown or dynamic."""
        return _size(self.scores.inputs[0], -2)

    @property
    def keys(self) -> int | None:
        """The number of keys; None where that is unknown or dynamic."""
        return _size(self.scores.inputs[1], -1)


def find_attentions(graph: ir.Graph) -> Iterator[AttentionBlock]:
    """Yield the attentions of ``graph`` and its bodies that are written as two products, in graph order."""
    for node in nodes_within(graph):
        if node.op_type == "Softmax" and node.domain == "":
            scores = [one for one in producers(node.inputs, _SCALE_AND_MASK) if _multiplies_computed(one)]
            mixture = _mixture(node)
            if len(scores) == 1 and mixture is not None:
                yield AttentionBlock(scores[0], mixture)


def _mixture(softmax: ir.Node) -> ir.Node | None:
    """Return the product that alone reads the ``softmax``, by its rows."""
    use = sole_use(softmax.outputs[0])
    while use is not None and use[0].op_type in IDENTITIES:
        use = sole_use(use[0].outputs[0])
    return use[0] if use is not None and use[1] == 0 and _multiplies_computed(use[0]) else None


def _multiplies_computed(node: ir.Node) -> bool:
    return node.op_type == "MatMul" and node.domain == "" and not any(map(is_constant, node.inputs))


def _size(value: ir.Value | None, axis: int) -> int | None:
    size = value.shape[axis] if value is not None and value.shape is not None and len(value.shape) > 1 else None
    return size if isinstance(size, int) else None
