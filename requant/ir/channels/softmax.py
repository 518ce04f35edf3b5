"""What attention's softmax does for a shift: its rows sum to 1, and it ignores a constant added to a row."""

import onnx_ir as ir


def rows_sum_to_one(value: ir.Value | None) -> bool:
    """Whether ``value`` is a softmax over its last axis. Dropout counts as it is at inference."""
    node = value.producer() if value is not None else None
    while node is not None and _keeps(node) and node.inputs[0] is not None:
        node = node.inputs[0].producer()
    return node is not None and _over_last_axis(node)


def ignores_row_constants(scores: ir.Value) -> bool:
    """Whether ``scores`` + c, with one c a row, give the same softmax: only sums and single factors lie between."""
    while True:
        uses = scores.uses()
        if len(uses) != 1 or scores.is_graph_output():
            return False
        (node, position), *_ = uses
        if _over_last_axis(node):
            return True
        if not _keeps_rows(node, position):
            return False
        scores = node.outputs[0]


def _keeps_rows(node: ir.Node, position: int) -> bool:
    """Whether a constant added to a row of that input comes out as a constant added to the row."""
    if _keeps(node) or node.op_type == "Add":
        return True
    factor = node.inputs[1 - position] if node.op_type == "Mul" or (node.op_type == "Div" and position == 0) else None
    if factor is None or factor.const_value is None:
        return False
    return len(factor.const_value.shape) == 0 or factor.const_value.shape[-1] == 1


def _keeps(node: ir.Node) -> bool:
    """Whether ``node`` gives its input on, up to rounding."""
    if node.op_type == "Cast":
        return ir.DataType(node.attributes.get_int("to", 0)).is_floating_point()
    return node.op_type in ("Dropout", "Identity")


def _over_last_axis(node: ir.Node) -> bool:
    if node.op_type != "Softmax" or node.domain != "":
        return False
    axis, shape = node.attributes.get_int("axis", -1), node.outputs[0].shape
    return axis == -1 or (shape is not None and axis == len(shape) - 1)
