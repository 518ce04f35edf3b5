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

    def passed(node: ir.Node, position: int) -> bool:
        return node.op_type in through and (position == 0 or node.op_type == "Concat")

    def outputs(current: ir.Value) -> list[ir.Value]:
        return [output for use in current.uses() if passed(*use) for output in use.node.outputs]

    for current in traverse.reachable([value], outputs):
        if current.is_graph_output():
            yield None
        yield from (use.node for use in current.uses() if not passed(*use))


def producer(value: ir.Value | None, through: frozenset[str] = PAIR) -> ir.Node | None:
    """Return the node that computes ``value``, looking ``through`` other ops along their first inputs."""
    return traverse.producer(value, through)


def sole_consumer(value: ir.Value) -> ir.Node | None:
    """Return the only consumer of ``value``, or None where there are several or the graph outputs it."""
    nodes = [use.node for use in value.uses()]
    return nodes[0] if len(nodes) == 1 and not value.is_graph_output() else None
