"""Small edits of a graph: parameters that are replaced or scaled, and nodes that are inserted."""

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from ..constants import array, constant, lazily
from ..linear import Linear, as_linear
from ..names import fresh_name
from ..traverse import Slot

_MARK = ".rebased"


def read_constant(value: ir.Value | None) -> NDArray[np.float64]:
    """Return the constant that ``value`` holds, in float64."""
    data = array(value)
    assert data is not None
    return data.astype(np.float64)


def cast_like(value: ir.Value | None, data: NDArray[np.float64]) -> NDArray[np.generic]:
    """Cast ``data`` to the element type of ``value``."""
    dtype = value.dtype if value is not None else None
    return data.astype((dtype or ir.DataType.FLOAT).numpy())


def replace_constant(slot: Slot, data: NDArray[np.generic], name: str) -> None:
    """Connect a new initializer to an input; other users of the old one keep it."""
    node, position = slot
    initializer = constant(graph_of(node), data, name)
    if len(node.inputs) <= position:
        node.resize_inputs(position + 1)
    node.replace_input_with(position, initializer)


def scale_along(weight: ir.Value, axis: int, factor: NDArray[np.float64]) -> None:
    """Multiply a weight by ``factor`` along ``axis``, in float32 or better, when it is read."""
    tensor = weight.const_value
    assert tensor is not None
    scale_by(weight, factor.reshape([-1 if i == axis else 1 for i in range(len(tensor.shape))]))


def scale_by(weight: ir.Value, factor: NDArray[np.float64]) -> None:
    """Multiply a weight by a factor that broadcasts against it, in float32 or better, when it is read."""
    tensor = weight.const_value
    assert tensor is not None
    dtype = np.promote_types(np.float32, tensor.dtype.numpy()) if tensor.dtype.itemsize >= 4 else np.dtype(np.float32)
    typed = factor.astype(dtype)
    weight.const_value = lazily(lambda w: w.astype(dtype, copy=False) * typed, tensor)


def add_to_bias(linear: Linear, delta: NDArray[np.float64]) -> int:
    """Add ``delta`` [N] to what ``linear`` computes; returns the number of nodes that takes: 0, or 1 for a new Add."""
    node, name = linear.node, f"{linear.node.outputs[0].name}.bias"
    if linear.bias is not None:
        owner, position = linear.bias
        bias = owner.inputs[position]
        replace_constant(linear.bias, cast_like(bias, read_constant(bias) + delta / linear.bias_factor), name)
        return 0
    tensor = cast_like(linear.weight, delta / linear.bias_factor)
    if node.op_type != "MatMul":
        replace_constant((node, 2), tensor, name)
        return 0
    insert_after(node.outputs[0], "Add", constant(graph_of(node), tensor, name))
    return 1


def mark_output(node: ir.Node) -> None:
    """Give the output of the linear ``node`` another name, so that it is not compared with the original one."""
    linear = as_linear(node)
    assert linear is not None
    if not (linear.output.name or "").endswith(_MARK):
        linear.output.name = fresh_name(graph_of(node), f"{linear.output.name}{_MARK}")


def affine(
    node: ir.Node, value: ir.Value, scale: NDArray[np.float64], shift: NDArray[np.float64], purpose: str
) -> tuple[ir.Value, int]:
    """Compute value · scale + shift just before ``node``, without a trivial Mul or Add; returns their number too."""
    result, count = value, 0
    for op_type, data, neutral in (("Mul", scale, 1.0), ("Add", shift, 0.0)):
        if not np.all(data == neutral):
            operand = constant(graph_of(node), cast_like(value, data), f"{value.name}.{purpose}.{op_type.lower()}")
            new_node = ir.node(op_type, [result, operand])
            graph_of(node).insert_before(node, new_node)
            result = _describe(new_node.outputs[0], value, fresh_name(graph_of(node), f"{operand.name}.out"))
            count += 1
    return result, count


def insert_after(value: ir.Value, op_type: str, operand: ir.Value) -> None:
    """Let every consumer of ``value`` read op(value, operand) instead, under the old name.

    The annotations of ``value`` are true of what its consumers read, and move there too.
    """
    node, name = value.producer(), value.name
    assert node is not None
    new_node = ir.node(op_type, [value, operand])
    value.name = fresh_name(graph_of(node), f"{operand.name}.in")
    _describe(new_node.outputs[0], value, name or fresh_name(graph_of(node), f"{operand.name}.out"))
    new_node.outputs[0].meta.update(value.meta)
    value.meta.clear()
    ir.convenience.replace_all_uses_with(value, new_node.outputs[0], replace_graph_outputs=True)
    new_node.replace_input_with(0, value)
    graph_of(node).insert_after(node, new_node)


def graph_of(node: ir.Node) -> ir.Graph:
    """Return the graph that ``node`` is in."""
    assert isinstance(node.graph, ir.Graph)
    return node.graph


def _describe(value: ir.Value, like: ir.Value, name: str) -> ir.Value:
    value.name, value.shape, value.type = name, like.shape, like.type
    return value
