"""One view of every op that multiplies by a constant weight: MatMul, Gemm, Conv and ConvTranspose.

    Y[…, o] = Σ_i X[…, i] · W[i, o] + b[o]

whatever the op calls its axes. `requant.ir.unsupported` lists the layers that have no view.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from .constants import constant_shape, is_constant, is_repeated
from .traverse import Slot, nodes_within, sole_use

FEWEST_CHANNELS = 16
"""The least input and output channels of a product for which an engine has an integer kernel that gains."""


@dataclass(frozen=True)
class Linear:
    """A node that multiplies ``data`` by a constant ``weight``.

    ``in_axis`` and ``out_axis`` are the weight's axes of input and output channels; ``data_axis`` is the axis
    of ``data`` that is contracted, counted from the end for MatMul and Gemm (-1) and from the front for a convolution
    (1). ``bias`` is the input that takes b of shape [out], or None when there is none yet. ``output`` is the
    value after the bias. A grouped Conv has ``groups`` > 1, and its in_axis counts channels within a group. A MatMul
    may be ``batched``: its weight [B, K, N] is a matrix for each index of another axis of the data.
    """

    node: ir.Node
    data: ir.Value
    weight: ir.Value
    in_axis: int
    out_axis: int
    data_axis: int
    bias: Slot | None
    output: ir.Value
    groups: int = 1

    @property
    def name(self) -> str:
        """The name in messages and for ``keep`` patterns: the node's, else its output's."""
        return self.node.name or self.node.outputs[0].name or self.node.op_type

    @property
    def current_data(self) -> ir.Value:
        """The value that the node reads by now: rewrites put a bias behind ``data``, or other nodes between."""
        value = self.node.inputs[0]
        return self.data if value is None else value

    @property
    def shape(self) -> tuple[int, ...]:
        """The weight's shape."""
        return constant_shape(self.weight)

    @property
    def inputs(self) -> int:
        """Number of input channels K, over all groups."""
        return self.shape[self.in_axis] * self.groups

    @property
    def outputs(self) -> int:
        """Number of output channels N."""
        return self.shape[self.out_axis]

    @property
    def factor(self) -> float:
        """The factor of the product, alpha of a Gemm."""
        return self.node.attributes.get_float("alpha", 1.0) if self.node.op_type == "Gemm" else 1.0

    @property
    def bias_factor(self) -> float:
        """The factor of the bias, beta of a Gemm."""
        return self.node.attributes.get_float("beta", 1.0) if self.node.op_type == "Gemm" else 1.0

    @property
    def batched(self) -> bool:
        """True when the weight is a batch of matrices, of which each row of data meets one."""
        return self.node.op_type == "MatMul" and len(self.shape) > 2

    @property
    def shift_blocked(self) -> str | None:
        """The reason why a shift of the data would add something else than a bias [out] to the output, or None."""
        partial = "has outputs that are sums over some of its taps" if self.node.op_type == "ConvTranspose" else None
        several = "has several matrices, and so several biases" if self.batched else None
        return several or partial or ("pads its input with zeros" if self.padded else None)

    @property
    def padded(self) -> bool:
        """True when zeros are added around the data, which would have to be other values once the data is shifted."""
        attributes = self.node.attributes
        return self.node.op_type == "Conv" and (
            any(attributes.get_ints("pads", ()))
            or attributes.get_string("auto_pad", "NOTSET") not in ("NOTSET", "VALID")
        )

    def matrix(self) -> NDArray[np.float32]:
        """Return the weight as [K, N·taps] in float32: row i is what input channel i is multiplied by.

        The matrices of a batch lie side by side, like taps. For a grouped Conv the outputs of other groups are left
        out, so that rows have N/groups·taps entries.
        """
        weight = self.weight.const_value
        assert weight is not None
        return self.laid_out(weight.numpy())

    def laid_out(self, weight: NDArray[np.generic]) -> NDArray[np.float32]:
        """Lay an array of the shape of the weight out in the same way."""
        data = weight.astype(np.float32)
        if self.groups == 1:
            return np.moveaxis(data, self.in_axis, 0).reshape(self.inputs, -1)
        per_group = data.reshape(self.groups, -1, *data.shape[1:])
        return np.moveaxis(per_group, 2, 1).reshape(self.inputs, -1)


def find_linears(graph: ir.Graph) -> Iterator[Linear]:
    """Yield every linear node of ``graph`` and of the bodies of its If, Loop and Scan nodes, in order."""
    for node in nodes_within(graph):
        if linear := as_linear(node):
            yield linear


def as_linear(node: ir.Node) -> Linear | None:
    """View ``node`` as a linear map of its first input; None when it is none or its weight is not constant."""
    view = _VIEWS.get(node.op_type) if node.domain == "" else None
    if view is None or len(node.inputs) < 2:
        return None
    data, weight = node.inputs[0], node.inputs[1]
    if data is None or weight is None or is_repeated(data) or not is_constant(weight):
        return None
    return view(node, data, weight)


def _matmul(node: ir.Node, data: ir.Value, weight: ir.Value) -> Linear | None:
    rank = len(constant_shape(weight))
    if rank < 2:
        return None
    bias = _bias_after(node.outputs[0], constant_shape(weight)[-1])
    output = bias[0].outputs[0] if bias else node.outputs[0]
    return Linear(node, data, weight, rank - 2, rank - 1, -1, bias, output)


def _gemm(node: ir.Node, data: ir.Value, weight: ir.Value) -> Linear | None:
    bias = node.inputs[2] if len(node.inputs) > 2 else None
    if node.attributes.get_int("transA", 0) or (bias is not None and not is_bias(bias)):
        return None
    if node.attributes.get_float("beta", 1.0) == 0:
        return None  # its bias has no effect
    out_axis = 0 if node.attributes.get_int("transB", 0) else 1
    slot = (node, 2) if bias is not None else None
    return Linear(node, data, weight, 1 - out_axis, out_axis, -1, slot, node.outputs[0])


def _conv(node: ir.Node, data: ir.Value, weight: ir.Value) -> Linear | None:
    bias = node.inputs[2] if len(node.inputs) > 2 else None
    if bias is not None and not is_constant(bias):
        return None
    slot, groups = (node, 2) if bias is not None else None, node.attributes.get_int("group", 1)
    return Linear(node, data, weight, 1, 0, 1, slot, node.outputs[0], groups)


def _conv_transpose(node: ir.Node, data: ir.Value, weight: ir.Value) -> Linear | None:
    conv = _conv(node, data, weight)
    return replace(conv, in_axis=0, out_axis=1) if conv is not None and conv.groups == 1 else None


_VIEWS = {"Conv": _conv, "ConvTranspose": _conv_transpose, "Gemm": _gemm, "MatMul": _matmul}


def _bias_after(product: ir.Value, outputs: int) -> Slot | None:
    """Return the constant operand of the Add that is the only consumer of ``product``."""
    if (use := sole_use(product)) is None:
        return None
    add, position = use
    other = add.inputs[1 - position] if add.op_type == "Add" else None
    if other is None or not is_constant(other):
        return None
    *other_dims, last = constant_shape(other) or (1,)
    return (add, 1 - position) if set(other_dims) <= {1} and last in (1, outputs) else None


def is_bias(value: ir.Value) -> bool:
    """Tell whether ``value`` is constant and varies along its last axis only."""
    return is_constant(value) and len(constant_shape(value)) > 0 and set(constant_shape(value)[:-1]) <= {1}
