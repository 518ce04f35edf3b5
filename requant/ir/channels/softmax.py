"""The properties of a softmax over rows that a shift needs: rows sum to 1, and a constant added to a row cancels."""

import onnx_ir as ir

from ..ops import IDENTITIES
from ..traverse import producer, sole_use


def rows_sum_to_one(value: ir.Value | None) -> bool:
    """Tell whether ``value`` is a softmax over its last axis. Dropout counts as it is at inference."""
    node = producer(value, through=_is_identity)
    return node is not None and _is_over_last_axis(node)


def ignores_row_constants(scores: ir.Value) -> bool:
    """Tell whether ``scores`` + c, with one c a row, give the same softmax: only sums and factors lie between."""
    while (use := sole_use(scores)) is not None:
        node, position = use
        if _is_over_last_axis(node):
            return True
        if not _keeps_row_constants(node, position):
            return False
        scores = node.outputs[0]
    return False


def _keeps_row_constants(node: ir.Node, position: int) -> bool:
    """Tell whether a constant added to a row of that input comes out as a constant added to the row."""
    if _is_identity(node) or node.op_type == "Add":
        return True
    factor = node.inputs[1 - position] if node.op_type == "Mul" or (node.op_type == "Div" and position == 0) else None
    if factor is None or factor.const_value is None:
        return False
    return len(factor.const_value.shape) == 0 or factor.const_value.shape[-1] == 1


def _is_identity(node: ir.Node) -> bool:
    """Tell whether the output of ``node`` is its input, up to rounding."""
    if node.op_type == "Cast":
        return ir.DataType(node.attributes.get_int("to", 0)).is_floating_point()
    return node.op_type in IDENTITIES


def _is_over_last_axis(node: ir.Node) -> bool:
    if node.op_type != "Softmax" or node.domain != "":
        return False
    axis, shape = node.attributes.get_int("axis", -1), node.outputs[0].shape
    return axis == -1 or (shape is not None and axis == len(shape) - 1)
