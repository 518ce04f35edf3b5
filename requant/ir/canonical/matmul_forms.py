"""One form of a MatMul with a constant weight.

x W[1, K, N] = x W[K, N]        x W[B, K, N], of one x for all B, = x W[K, B N]        W x = (xᵀ Wᵀ)ᵀ
"""

import numpy as np
import onnx_ir as ir

from ..build import follow, precede
from ..constants import constant_shape, is_constant
from ..linear import FEWEST_CHANNELS
from .weight_layouts import WeightLayouts, is_left


def left_matmul(weights: WeightLayouts, node: ir.Node) -> bool:
    """Let the weight be the second operand of a MatMul."""
    weight, data = node.inputs
    if not is_left(node) or data is None or not data.shape or min(constant_shape(weight)[-2:]) < FEWEST_CHANNELS:
        return False
    rank, shape = len(data.shape), constant_shape(weight)
    if len(shape) < 2 or (rank == 1 and len(shape) > 2):
        return False
    node.replace_input_with(0, data)
    node.replace_input_with(1, weight)
    weights.replace(node, "transposed", lambda array: array.swapaxes(-1, -2), (*shape[:-2], shape[-1], shape[-2]))
    if rank > 1:
        dims = [data.shape[axis] for axis in _swapped(rank)]
        precede(weights.graph, node, 0, "Transpose", perm=_swapped(rank)).shape = ir.Shape(dims)
        follow(weights.graph, node, "Transpose", perm=_swapped(max(rank, len(shape))))
    return True


def one_matrix(weights: WeightLayouts, node: ir.Node) -> bool:
    """Drop the leading axes of length 1 from the weight of a MatMul."""
    data, weight = node.inputs
    if data is None or not data.shape or not is_constant(weight) or is_constant(data):
        return False
    shape, rank = constant_shape(weight), len(data.shape)
    units = next((axis for axis, size in enumerate(shape[:-2]) if size != 1), max(len(shape) - 2, 0))
    if not units:
        return False
    weights.replace(node, "matrix", lambda array: array.reshape(shape[units:]), shape[units:])
    lost = _product_rank(rank, len(shape)) - _product_rank(rank, len(shape) - units)
    if lost:
        follow(weights.graph, node, "Unsqueeze", [*range(lost)])
    return True


def one_product(weights: WeightLayouts, node: ir.Node) -> bool:
    """Multiply data that all matrices of a batch share by these, side by side."""
    data, weight = node.inputs
    if data is None or not data.shape or not is_constant(weight) or is_constant(data):
        return False
    rank, shape = len(data.shape), constant_shape(weight)
    shared = range(max(rank - len(shape), 0), max(rank - 2, 0))
    if len(shape) < 3 or any(data.shape[axis] != 1 for axis in shared):
        return False
    *batch, width, columns = shape
    count = len(batch)
    order = (count, *range(count), count + 1)
    matrix = (width, int(np.prod(batch)) * columns)
    weights.replace(node, "matrix", lambda array: array.transpose(order).reshape(matrix), matrix)
    leading = rank - 2 - len(shared)  # the axes of the data before those of the batch
    if rank > 1:
        perm = [*range(leading), *range(leading + 1, leading + 1 + count), leading, leading + 1 + count]
        follow(weights.graph, node, "Transpose", perm=perm)
    sizes = [0] * (leading + 1 if rank > 1 else 0) + [*batch, columns]
    follow(weights.graph, node, "Reshape", sizes)
    if shared:
        follow(weights.graph, node, "Squeeze", [*shared])
    return True


def _product_rank(data: int, weight: int) -> int:
    return max(data, weight) if data > 1 else weight - 1


def _swapped(rank: int) -> list[int]:
    return [*range(rank - 2), rank - 1, rank - 2]
