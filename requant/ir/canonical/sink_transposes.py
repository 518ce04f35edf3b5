"""What is element-wise behind a Conv comes before the Transpose that makes its channels the last axis:

    f(T(x), T(y), c) = T(f(x, y, T⁻¹(c)))        T⁻¹(T(x)) = x

Converters from frameworks with channels last write BatchNorm, activations and residual sums there. Once they are next
to the Conv, they can be folded into it, and what is left are Transposes that cancel each other.
"""

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir
from onnx_ir.passes.common import RemoveUnusedNodesPass

from ..constants import array, constant

_ELEMENTWISE = frozenset(
    {"Add", "Clip", "Div", "Elu", "Erf", "Gelu", "HardSigmoid", "HardSwish", "LeakyRelu", "Max", "Min", "Mul", "PRelu"}
    | {"Relu", "Sigmoid", "Softplus", "Sub", "Tanh"}
)


class SinkTransposes(ir.passes.InPlacePass):
    """Move element-wise ops whose data all come from Convs through equal Transposes before these."""

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        channels_first: set[ir.Node] = set()
        modified = False
        for node in model.graph:
            if _is(node, "Conv", "ConvTranspose"):
                channels_first.add(node)
            elif _is(node, "Transpose"):
                modified |= _cancel(node)
            elif (order := _order(node, channels_first)) is not None:
                _sink(model.graph, node, order)
                channels_first.add(node)
                modified = True
        if modified:
            RemoveUnusedNodesPass()(model)  # a Transpose that nobody reads would still count as a consumer
        return ir.passes.PassResult(model, modified)


def _order(node: ir.Node, channels_first: set[ir.Node]) -> list[int] | None:
    """The permutation of the Transposes that all data of ``node`` come through, or None."""
    if not _is(node, *_ELEMENTWISE) or len(node.outputs) != 1:
        return None
    orders = [_order_of(value, channels_first) for value in node.inputs if value is not None and array(value) is None]
    rank = len(orders[0] or ()) if orders else 0
    constants = [found for value in node.inputs if (found := array(value)) is not None]
    fits = all(order is not None and order == orders[0] for order in orders) and all(c.ndim <= rank for c in constants)
    return orders[0] if orders and fits else None


def _order_of(value: ir.Value, channels_first: set[ir.Node]) -> list[int] | None:
    transpose = value.producer()
    data = transpose.inputs[0] if transpose is not None and _is(transpose, "Transpose") else None
    if transpose is None or data is None or data.producer() not in channels_first or value.is_graph_output():
        return None
    if not all(_is(use.node, "Transpose", *_ELEMENTWISE) for use in value.uses()):
        return None  # the Transpose would have to stay, and another one would come
    return [*transpose.attributes.get_ints("perm", ())] or None


def _sink(graph: ir.Graph, node: ir.Node, order: Sequence[int]) -> None:
    """Let ``node`` read what the Transposes read, and put one behind it."""
    back = np.argsort(order)
    for position, value in enumerate(node.inputs):
        if value is None:
            continue
        transpose, known = value.producer(), array(value)
        if known is None:
            assert transpose is not None
            node.replace_input_with(position, transpose.inputs[0])
        elif known.size > 1:
            full = known.reshape((1,) * (len(order) - known.ndim) + known.shape)
            node.replace_input_with(position, constant(graph, full.transpose(back), f"{value.name}.channels_first"))
    result = node.outputs[0]
    transpose = ir.node("Transpose", [result], {"perm": list(order)}, name=f"{result.name}.transpose")
    moved, name, shape = transpose.outputs[0], result.name, result.shape
    graph.insert_after(node, transpose)
    ir.convenience.replace_all_uses_with(result, moved, replace_graph_outputs=True)
    transpose.replace_input_with(0, result)
    moved.name, moved.shape, moved.type = name, shape, result.type
    result.name = f"{name}.channels_first"
    result.shape = ir.Shape([shape[int(axis)] for axis in back]) if shape is not None else None


def _cancel(node: ir.Node) -> bool:
    """Let the consumers of a Transpose read what another one turned the other way before."""
    data, before = node.inputs[0], node.inputs[0].producer() if node.inputs[0] is not None else None
    if data is None or before is None or not _is(before, "Transpose") or node.outputs[0].is_graph_output():
        return False
    first, second = (list(each.attributes.get_ints("perm", ())) for each in (before, node))
    source = before.inputs[0]
    if source is None or len(first) != len(second) or [first[axis] for axis in second] != sorted(first):
        return False
    ir.convenience.replace_all_uses_with(node.outputs[0], source)
    return True


def _is(node: ir.Node, *op_types: str) -> bool:
    return node.domain == "" and node.op_type in op_types
