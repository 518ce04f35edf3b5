"""Walks from value to value through the nodes that only move, convert or round what they read."""

from collections.abc import Iterator

import onnx_ir as ir

from ...ir import traverse
from ...ir.ops import BLOCKING, CONVERSIONS, JOINING, LAYOUT, MAX_POOLING, POINT_GATHERS, QUANTIZERS, SELECTION, SHAPED

MOVERS = (
    (LAYOUT - BLOCKING) | SHAPED | CONVERSIONS | JOINING
    | (SELECTION - POINT_GATHERS) | (MAX_POOLING - {"GlobalMaxPool"})
)  # fmt: skip
"""Ops that move the quantized values of their first input (Concat: of each): a DQ may be before or after them."""

PAIR = QUANTIZERS | CONVERSIONS
"""Ops that leave a value what it is, up to rounding."""


def label(node: ir.Node) -> str:
    """Return the name that findings use for ``node``: its own, its first output's, or its type."""
    return node.name or node.outputs[0].name or node.op_type


def consumers(value: ir.Value, through: frozenset[str] = MOVERS) -> Iterator[ir.Node | None]:
    """Iterate over the consumers of ``value``, directly or ``through`` other ops; None stands for a graph output."""
    queue, visited = [value], {value}
    while queue:
        current = queue.pop()
        if current.is_graph_output():
            yield None
        for node, position in current.uses():
            if node.op_type not in through or (position > 0 and node.op_type != "Concat"):
                yield node
            elif not visited.issuperset(node.outputs):
                visited.update(node.outputs)
                queue.extend(node.outputs)


def producer(value: ir.Value | None, through: frozenset[str] = PAIR) -> ir.Node | None:
    """Return the node that computes ``value``, looking ``through`` other ops along their first inputs."""
    return traverse.producer(value, through)


def sole_consumer(value: ir.Value) -> ir.Node | None:
    """Return the only consumer of ``value``, or None where there are several or the graph outputs it."""
    nodes = [use.node for use in value.uses()]
    return nodes[0] if len(nodes) == 1 and not value.is_graph_output() else None
