"""Values whose consumers can absorb any channel transform, found from the outputs back.

It looks at ops and not at channels, so it may promise too much; the walk from producers to consumers has the last word.
"""

from collections.abc import Container

import onnx_ir as ir

from ..linear import as_linear
from ..norms import Slot
from .attention import scores
from .layout import is_mover
from .transfer import passes

BLIND = ("Shape", "Size")
"""Ops that look at a value's shape alone: any transform will do."""


def find_absorbing(graph: ir.Graph) -> set[ir.Value]:
    """The values of ``graph`` that are read by linears alone, or by ops that pass a transform on to such values."""
    nodes, found = set(graph), set[ir.Value]()
    for node in reversed(graph):
        for value in node.outputs:
            if not value.is_graph_output() and _absorbed(value, nodes, found):
                found.add(value)
    return found


def _absorbed(value: ir.Value, nodes: Container[ir.Node], found: set[ir.Value]) -> bool:
    """Whether all consumers take any transform, or else move channels on that others need not share."""
    refused = [use.node for use in value.uses() if not _takes((use.node, use.idx), nodes, found)]
    return not refused or (len(refused) < len(value.uses()) and all(_parts(node) for node in refused))


def _parts(node: ir.Node) -> bool:
    """Whether ``node`` may pass on some channels only, as for Q, K and V that one layer writes side by side."""
    return node.domain == "" and node.op_type in ("Slice", "Split", "Gather", "Reshape", "Transpose")


def _takes(slot: Slot, nodes: Container[ir.Node], found: set[ir.Value]) -> bool:
    node, position = slot
    if node not in nodes:
        return False
    if node.domain == "" and node.op_type in BLIND:
        return True
    if is_mover(node):
        return any(value in found for value in node.outputs)
    if as_linear(node) is not None:
        return position == 0
    return passes(node, position) and (scores(node, position) or node.outputs[0] in found)


def blocker(value: ir.Value, nodes: Container[ir.Node], absorbing: set[ir.Value]) -> str:
    """Why ``value`` is not absorbing: what reads it, or what is made of it further on, and takes no transform."""
    while True:
        if value.is_graph_output():
            return f"{value.name!r} is an output of the graph, so its values must stay as they are"
        use = next((use for use in value.uses() if not _takes((use.node, use.idx), nodes, absorbing)), None)
        if use is None:
            return ""
        if use.node not in nodes:
            return f"{value.name!r} is read inside the body of another node"
        if not (is_mover(use.node) or passes(use.node, use.idx)):
            return f"{use.node.op_type} {use.node.name!r} takes no transform"
        value = next(output for output in use.node.outputs if output not in absorbing)
