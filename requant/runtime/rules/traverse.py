"""Who reads a value, through the nodes that only move it."""

from collections.abc import Iterator

import onnx_ir as ir

MOVERS = frozenset(
    {
        "Transpose",
        "Reshape",
        "Squeeze",
        "Unsqueeze",
        "Flatten",
        "Identity",
        "Cast",
        "Expand",
        "Slice",
        "Split",
    }
    | {"Gather", "MaxPool", "Concat"}
)
"""Ops that hand on the codes of their first input (Concat: of each): a DQ before is as good as one after."""

PAIR = frozenset({"QuantizeLinear", "DequantizeLinear", "Cast", "Identity"})
"""Ops that leave a value what it is, up to rounding."""


def name(node: ir.Node) -> str:
    """What findings call ``node``."""
    return node.name or node.outputs[0].name or node.op_type


def consumers(value: ir.Value, through: frozenset[str] = MOVERS) -> Iterator[ir.Node | None]:
    """Every node that reads ``value``, straight or ``through`` others; None stands for an output of the graph."""
    waiting, met = [value], {value}
    while waiting:
        moved = waiting.pop()
        if moved.is_graph_output():
            yield None
        for node, position in moved.uses():
            if node.op_type not in through or (position > 0 and node.op_type != "Concat"):
                yield node
            elif not met.issuperset(node.outputs):
                met.update(node.outputs)
                waiting.extend(node.outputs)


def maker(value: ir.Value | None, through: frozenset[str] = PAIR) -> ir.Node | None:
    """The node that makes ``value``, or what ``through`` nodes hand on as ``value``."""
    node = value.producer() if value is not None else None
    while node is not None and node.op_type in through and node.inputs and node.inputs[0] is not None:
        node = node.inputs[0].producer()
    return node


def only_consumer(value: ir.Value) -> ir.Node | None:
    """The node that reads ``value``, or None when several do or the graph outputs it."""
    nodes = [use.node for use in value.uses()]
    return nodes[0] if len(nodes) == 1 and not value.is_graph_output() else None
