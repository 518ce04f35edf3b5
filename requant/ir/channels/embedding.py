"""An embedding: rows of a constant table, picked by computed indices."""

from dataclasses import dataclass

import onnx_ir as ir

from ..constants import is_constant


@dataclass(frozen=True)
class Embedding:
    """A Gather from a constant ``table`` of shape [rows, C]; its output's last axis is the channels."""

    node: ir.Node
    table: ir.Value
    output: ir.Value
    channels: int


def as_embedding(node: ir.Node) -> Embedding | None:
    """View ``node`` as an embedding; None when it is something else."""
    if node.op_type != "Gather" or node.domain != "" or node.attributes.get_int("axis", 0) != 0:
        return None
    table, indices = node.inputs
    if table is None or not is_constant(table) or table.shape is None or is_constant(indices):
        return None
    if len(table.shape) != 2 or table.dtype is None or not table.dtype.is_floating_point():
        return None
    return Embedding(node, table, node.outputs[0], int(table.shape.numpy()[1]))
