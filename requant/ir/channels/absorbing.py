"""Values whose consumers can absorb any channel transform, found from the outputs back.

It looks at ops and not at channels, so it may promise too much; the walk from producers to consumers has the last word.
"""

from collections.abc import Container

import onnx_ir as ir

from ..linear import as_linear
from ..ops import POINT_GATHERS, SELECTION, SHAPED, SIZES, is_op
from ..scaled_hard_swish import gated_product
from ..traverse import Slot
from .blocked import NOT_COMMUTING, title
from .layout import is_movement
from .transfer import commutes, contracts

_PARTIAL = (SELECTION - POINT_GATHERS) | (SHAPED - {"Expand"}) | {"Transpose"}
"""Ops that may pass on some channels only, as for Q, K and V that one layer computes side by side."""


def find_absorbing(graph: ir.Graph) -> set[ir.Value]:
    """Find the values of ``graph`` that only linears read, or ops that pass a transform on to such values."""
    nodes, absorbing = set(graph), set[ir.Value]()
    for node in reversed(graph):
        for value in node.outputs:
            if not value.is_graph_output() and _is_absorbing(value, nodes, absorbing):
                absorbing.add(value)
    return absorbing


def _is_absorbing(value: ir.Value, nodes: Container[ir.Node], absorbing: set[ir.Value]) -> bool:
    """Tell whether all consumers absorb any transform, or else select channels that the rest need not share."""
    blocking = [use.node for use in value.uses() if not _absorbs((use.node, use.idx), nodes, absorbing)]
    return not blocking or (len(blocking) < len(value.uses()) and all(is_op(node, _PARTIAL) for node in blocking))


def _absorbs(slot: Slot, nodes: Container[ir.Node], absorbing: set[ir.Value]) -> bool:
    """Tell whether a transform of that input can be absorbed there or further on."""
    node, position = slot
    if node not in nodes:
        return False
    if is_op(node, SIZES):
        return True
    if is_movement(node):
        return any(value in absorbing for value in node.outputs)
    if as_linear(node) is not None:
        return position == 0
    if (product := gated_product(node, node.inputs[position])) is not None:
        return product.outputs[0] in absorbing
    return commutes(node, position) and (contracts(node, position) or node.outputs[0] in absorbing)


def blocking_reason(value: ir.Value, nodes: Container[ir.Node], absorbing: set[ir.Value]) -> str | None:
    """Say which consumer of ``value``, or of what is computed from it, blocks a transform; None if there is none."""
    while True:
        if value.is_graph_output():
            return f"{value.name!r} is an output of the graph, so its values must stay as they are"
        use = next((use for use in value.uses() if not _absorbs((use.node, use.idx), nodes, absorbing)), None)
        if use is None:
            return None
        if use.node not in nodes:
            return f"{value.name!r} is read inside a subgraph"
        if not (is_movement(use.node) or commutes(use.node, use.idx)):
            return f"{title(use.node)} {NOT_COMMUTING}"
        value = next(output for output in use.node.outputs if output not in absorbing)
