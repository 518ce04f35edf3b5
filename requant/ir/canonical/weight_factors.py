"""Factors of a weight from vectors over the inputs or outputs of its layer."""

from collections.abc import Callable

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from ..linear import Linear

Vector = NDArray[np.float64]


def product(linear: Linear, vector: Vector) -> Vector:
    """Compute W · vector [out], summed over the taps of a convolution too."""
    assert linear.weight.const_value is not None
    axes = tuple(axis for axis in range(len(linear.shape)) if axis != linear.out_axis)
    products = linear.weight.const_value.numpy().astype(np.float64) * along_inputs(linear, vector)
    return np.asarray(products.sum(axis=axes))


def along_inputs(linear: Linear, vector: Vector) -> Vector:
    """Reshape ``vector`` [in] to a factor of the weight."""
    if linear.node.op_type == "Gemm":
        return vector.reshape((-1, 1) if linear.in_axis == 0 else (1, -1))
    grouped = vector.reshape(linear.groups, 1, -1)
    rows = np.repeat(grouped, linear.outputs // linear.groups, axis=1).reshape(linear.outputs, -1)
    return rows.reshape(rows.shape + (1,) * (len(linear.shape) - 2))


def _conv_outputs(node: ir.Node, shape: tuple[int, ...], vector: Vector) -> Vector:
    return vector.reshape((-1,) + (1,) * (len(shape) - 1))


def _gemm_outputs(node: ir.Node, shape: tuple[int, ...], vector: Vector) -> Vector:
    return vector.reshape((-1, 1) if node.attributes.get_int("transB", 0) else (1, -1))


def _transposed_outputs(node: ir.Node, shape: tuple[int, ...], vector: Vector) -> Vector:
    groups = node.attributes.get_int("group", 1)
    rows = np.repeat(vector.reshape(groups, -1), shape[0] // groups, axis=0)
    return rows.reshape(rows.shape + (1,) * (len(shape) - 2))


ALONG_OUTPUTS: dict[str, Callable[[ir.Node, tuple[int, ...], Vector], Vector]] = {
    "Conv": _conv_outputs,
    "ConvTranspose": _transposed_outputs,
    "Gemm": _gemm_outputs,
}
"""Functions that reshape a vector [out] to a factor of the weight."""
