"""The factor c of attention's scores c · Q Kᵀ, which exporters put behind the product or before one of its sides."""

from math import prod

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from ..constants import array, constant, is_constant
from ..norms import Slot
from ..sites.channels import is_mover
from .edit import graph_of, insert_after, like, plug, values


def behind(product: ir.Node, shape: tuple[int, ...]) -> Slot | str | None:
    """The constant that the scores are multiplied or divided by, if it broadcasts to ``shape``, [1, H, 1, 1].

    None when nobody multiplies or divides them; a reason when somebody does, but not so that c could have ``shape``.
    """
    scores = product.outputs[0]
    uses = [(use.node, use.idx) for use in scores.uses()]
    found = next(((node, position) for node, position in uses if _scales(node)), None)
    if found is None:
        return None
    if len(uses) > 1 or scores.is_graph_output():
        return f"{scores.name!r} is read before its factor"
    node, position = found
    factor = node.inputs[1 - position]
    if factor is None or not is_constant(factor) or (node.op_type == "Div" and position == 1):
        return f"{node.op_type} {node.name!r} is by no constant"
    assert factor.const_value is not None
    if prod(np.broadcast_shapes(factor.const_value.shape.numpy(), shape)) != prod(shape):
        return f"{node.op_type} {node.name!r} is by more than one constant for each head"
    return node, 1 - position


def before(side: ir.Value | None) -> Slot | None:
    """The positive scalar constant that one side of the product is multiplied or divided by, and nothing else is.

    ``side`` has a basis, so that it is no divisor.
    """
    while side is not None and len(side.uses()) == 1 and (node := side.producer()) is not None:
        if _scales(node):
            return next(((node, position) for position in (0, 1) if _is_scalar(node.inputs[position])), None)
        if not is_mover(node) or node.op_type == "Concat" or len(node.outputs) > 1:
            return None
        side = node.inputs[0]
    return None


def multiply(slot: Slot, by: NDArray[np.float64]) -> None:
    """Let the scores that have a factor be multiplied ``by`` more."""
    node, position = slot
    factor = node.inputs[position]
    wider = values(factor) / by if node.op_type == "Div" else values(factor) * by
    plug(slot, like(factor, wider), f"{node.outputs[0].name}.heads")


def insert(product: ir.Node, by: NDArray[np.float64]) -> None:
    """Multiply scores that have no factor."""
    scores = product.outputs[0]
    insert_after(scores, "Mul", constant(graph_of(product), like(scores, by), f"{scores.name}.heads"))


def unplug(slot: Slot) -> float:
    """Take a factor away; returns what it multiplied by."""
    node, position = slot
    factor, data = float(values(node.inputs[position]).item()), node.inputs[1 - position]
    assert data is not None
    ir.convenience.replace_all_uses_with(node.outputs[0], data)
    graph_of(node).remove(node, safe=True)
    return 1 / factor if node.op_type == "Div" else factor


def _scales(node: ir.Node) -> bool:
    return node.op_type in ("Mul", "Div") and node.domain == ""


def _is_scalar(value: ir.Value | None) -> bool:
    """Whether ``value`` is one positive number, whose rank nobody's shape depends on."""
    if value is None or not is_constant(value) or value.const_value is None or value.const_value.size != 1:
        return False
    data = array(value)
    return data is not None and data.ndim < 2 and 0 < data.item() < np.inf
