"""Element-wise ops behind a Conv move before the Transpose that moves its channels to the last axis:

    f(T(x), T(y), c) = T(f(x, y, T⁻¹(c)))        T⁻¹(T(x)) = x

Converters from frameworks with channels last write BatchNorm, activations and residual sums behind it. Next to the
Conv they can be folded into it, and the Transposes cancel each other.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
from onnx_ir.passes.common import RemoveUnusedNodesPass

from ..constants import array, constant
from ..ops import ACTIVATIONS, ARITHMETIC, CONVOLUTIONS, EXTREMA, RARE_ACTIVATIONS, is_op
from ..refusal import declined
from ..traverse import graphs_within

_ELEMENTWISE = ARITHMETIC | EXTREMA | (ACTIVATIONS - RARE_ACTIVATIONS)
_LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True)
class SinkTransposes(ir.passes.InPlacePass):
    """Move element-wise ops whose data all come from Convs through equal Transposes before these.

    Attributes:
        products: other nodes than Convs behind whose Transposes to do the same.
    """

    products: frozenset[ir.Node] = frozenset()

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        modified = [_sink_all(graph, self.products) for graph in graphs_within(model.graph)]
        if any(modified):
            RemoveUnusedNodesPass()(model)  # unused Transposes would still count as consumers
        return ir.passes.PassResult(model, any(modified))


def _sink_all(graph: ir.Graph, products: frozenset[ir.Node]) -> bool:
    """Sink the Transposes of one graph, those behind ``products`` as well as those behind Convs."""
    channels_first: set[ir.Node] = set()
    modified = False
    for node in graph:
        if is_op(node, CONVOLUTIONS) or node in products:
            channels_first.add(node)
        elif _is_transpose(node):
            modified |= _cancel(node)
        elif (order := _order(node, channels_first)) is not None:
            _sink(graph, node, order)
            channels_first.add(node)
            modified = True
    return modified


def _order(node: ir.Node, channels_first: set[ir.Node]) -> list[int] | None:
    """Return the permutation of the Transposes before all data inputs of ``node``; None where they differ."""
    if not is_op(node, _ELEMENTWISE) or len(node.outputs) != 1:
        return None
    orders = [_order_of(value, channels_first) for value in node.inputs if value is not None and array(value) is None]
    rank = len(orders[0] or ()) if orders else 0
    constants = [data for value in node.inputs if (data := array(value)) is not None]
    fits = all(order is not None and order == orders[0] for order in orders) and all(c.ndim <= rank for c in constants)
    if not fits and any(orders):
        declined(_LOGGER, node, "its inputs do not come through equal Transposes of outputs of Convs")
    return orders[0] if orders and fits else None


def _order_of(value: ir.Value, channels_first: set[ir.Node]) -> list[int] | None:
    transpose = value.producer()
    data = transpose.inputs[0] if transpose is not None and _is_transpose(transpose) else None
    if transpose is None or data is None or data.producer() not in channels_first or value.is_graph_output():
        return None
    if not all(is_op(use.node, _ELEMENTWISE | {"Transpose"}) for use in value.uses()):
        declined(_LOGGER, transpose, "another consumer needs it, so that a second Transpose would be added")
        return None
    return [*transpose.attributes.get_ints("perm", ())] or None


def _sink(graph: ir.Graph, node: ir.Node, order: Sequence[int]) -> None:
    """Let ``node`` read the inputs of the Transposes, and insert one behind it."""
    inverse = np.argsort(order)
    for position, value in enumerate(node.inputs):
        if value is None:
            continue
        transpose, data = value.producer(), array(value)
        if data is None:
            assert transpose is not None
            node.replace_input_with(position, transpose.inputs[0])
        elif data.size > 1:
            full = data.reshape((1,) * (len(order) - data.ndim) + data.shape)
            node.replace_input_with(position, constant(graph, full.transpose(inverse), f"{value.name}.channels_first"))
    result = node.outputs[0]
    transpose = ir.node("Transpose", [result], {"perm": list(order)}, name=f"{result.name}.transpose")
    output, name, shape = transpose.outputs[0], result.name, result.shape
    graph.insert_after(node, transpose)
    ir.convenience.replace_all_uses_with(result, output, replace_graph_outputs=True)
    transpose.replace_input_with(0, result)
    output.name, output.shape, output.type = name, shape, result.type
    result.name = f"{name}.channels_first"
    result.shape = ir.Shape([shape[int(axis)] for axis in inverse]) if shape is not None else None


def _cancel(node: ir.Node) -> bool:
    """Let the consumers of a Transpose read the input of the inverse Transpose before it."""
    data, before = node.inputs[0], node.inputs[0].producer() if node.inputs[0] is not None else None
    if data is None or before is None or not _is_transpose(before) or node.outputs[0].is_graph_output():
        return False
    first, second = (list(transpose.attributes.get_ints("perm", ())) for transpose in (before, node))
    source = before.inputs[0]
    if source is None or len(first) != len(second) or [first[axis] for axis in second] != sorted(first):
        return False
    ir.convenience.replace_all_uses_with(node.outputs[0], source)
    return True


def _is_transpose(node: ir.Node) -> bool:
    return node.domain == "" and node.op_type == "Transpose"
