"""A layer does by itself what a BatchNorm, or a scale or an offset for each channel, does after or before it.

BatchNorm(x) = s x + h,  s = γ / √(σ² + ε),  h = β - s μ
s (W x + b) + h = (s W) x + (s b + h)              W (s x + h) + b = (W s) x + (b + W h)
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from ..constants import array, constant, is_constant, lazily
from ..linear import Linear, as_linear
from ..traverse import sole_use

Vector = NDArray[np.float64]


@dataclass(frozen=True)
class _Affine:
    """``node`` computes scale · data + shift for each of the C channels of axis 1."""

    node: ir.Node
    data: ir.Value
    scale: Vector
    shift: Vector


class FoldBatchNorm(ir.passes.InPlacePass):
    """Fold each BatchNormalization of the main graph into the layer before it, or else into the one after it.

    A Mul, Div, Add or Sub of a constant for each channel is folded into the convolution before it.
    """

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        modified = False
        for node in model.graph:
            affine = _batch_norm(node) or _channelwise(node)
            if affine is not None:
                modified |= _into_previous(model.graph, affine) or _into_next(model.graph, affine)
        return ir.passes.PassResult(model, modified)


def _batch_norm(node: ir.Node) -> _Affine | None:
    if node.op_type != "BatchNormalization" or node.domain != "" or node.attributes.get_int("training_mode", 0) != 0:
        return None
    data, values = node.inputs[0], [array(value) for value in node.inputs[1:]]
    parameters = [value.astype(np.float64) for value in values if value is not None]
    if data is None or len(parameters) != 4:
        return None
    gamma, beta, mean, variance = parameters
    channels = data.shape[1] if data.shape is not None and len(data.shape) > 1 else len(gamma)
    if isinstance(channels, int) and any(parameter.shape != (channels,) for parameter in parameters):
        return None  # onnx's inference does not ask at old opsets
    scale = gamma / np.sqrt(variance + node.attributes.get_float("epsilon", 1e-5))
    return _Affine(node, data, scale, beta - scale * mean)


def _channelwise(node: ir.Node) -> _Affine | None:
    if node.domain != "" or node.op_type not in {op_type for op_type, _ in _AFFINE}:
        return None
    for position, (data, operand) in enumerate((node.inputs, node.inputs[::-1])):
        layer, affine = data.producer() if data is not None else None, _AFFINE.get((node.op_type, position))
        if data is not None and layer is not None and layer.op_type in ("Conv", "ConvTranspose"):
            vector = _along_channels(operand, data.shape)
            if affine is not None and vector is not None and (node.op_type != "Div" or vector.all()):
                scale, shift = (np.broadcast_to(part, vector.shape) for part in affine(vector))
                return _Affine(node, data, scale, shift)
    return None


_AFFINE: dict[tuple[str, int], Callable[[Vector], tuple[Vector | float, Vector | float]]] = {
    ("Mul", 0): lambda vector: (vector, 0.0),
    ("Mul", 1): lambda vector: (vector, 0.0),
    ("Div", 0): lambda vector: (1 / vector, 0.0),
    ("Add", 0): lambda vector: (1.0, vector),
    ("Add", 1): lambda vector: (1.0, vector),
    ("Sub", 0): lambda vector: (1.0, -vector),
    ("Sub", 1): lambda vector: (-1.0, vector),
}
"""Scale and shift of an op whose data come at that input and a vector at the other."""


def _along_channels(value: ir.Value | None, shape: ir.Shape | None) -> Vector | None:
    """A constant that varies along axis 1 of ``shape`` at most, of shape [C]."""
    if shape is None or value is None or value.const_value is None or not is_constant(value):
        return None
    own, channels = tuple(value.const_value.shape.numpy()), shape[1]
    full = (1,) * (len(shape) - len(own)) + own
    if not isinstance(channels, int) or len(full) > len(shape):
        return None
    if full[1] not in (1, channels) or any(size != 1 for size in (full[0], *full[2:])):
        return None
    return np.broadcast_to(value.const_value.numpy().astype(np.float64).reshape(-1), (channels,))


def _into_previous(graph: ir.Graph, affine: _Affine) -> bool:
    layer, out = affine.data.producer(), affine.node.outputs[0]
    spread = _ALONG_OUTPUTS.get(layer.op_type) if layer is not None and layer.domain == "" else None
    if layer is None or spread is None or sole_use(affine.data) is None:
        return False
    weight, bias = layer.inputs[1], layer.inputs[2] if len(layer.inputs) > 2 else None
    beta = layer.attributes.get_float("beta", 1.0)
    if weight is None or not is_constant(weight) or not (bias is None or is_constant(bias)) or beta == 0:
        return False
    old = array(bias)
    shift = affine.shift / beta + (0 if old is None else old.astype(np.float64) * affine.scale)
    _rewrite(graph, layer, weight, spread(layer, _shape(weight), affine.scale), shift)
    name = out.name
    ir.convenience.replace_all_uses_with(out, affine.data, replace_graph_outputs=True)
    graph.remove(affine.node, safe=True)
    affine.data.name = name
    return True


def _into_next(graph: ir.Graph, affine: _Affine) -> bool:
    out = affine.node.outputs[0]
    use = sole_use(out) if affine.node.op_type == "BatchNormalization" else None
    linear = as_linear(use[0]) if use is not None else None
    if linear is None or linear.data is not out or linear.node.op_type not in ("Conv", "Gemm"):
        return False
    if linear.padded and affine.shift.any():
        return False  # the zeros around the data would be shifted too
    weight, bias = linear.weight, array(linear.bias[0].inputs[linear.bias[1]]) if linear.bias else None
    ratio = linear.node.attributes.get_float("alpha", 1.0) / linear.node.attributes.get_float("beta", 1.0)
    shift = ratio * _product(linear, affine.shift) + (0 if bias is None else bias.astype(np.float64))
    _rewrite(graph, linear.node, weight, _along_inputs(linear, affine.scale), shift)
    linear.node.replace_input_with(0, affine.data)
    graph.remove(affine.node, safe=True)
    return True


def _rewrite(graph: ir.Graph, layer: ir.Node, weight: ir.Value, factor: Vector, bias: Vector) -> None:
    """Give ``layer`` a weight and a bias of its own, the weight multiplied when it is read."""
    tensor, out = weight.const_value, layer.outputs[0].name
    assert tensor is not None
    dtype = np.promote_types(tensor.dtype.numpy(), np.float32)
    scale = factor.astype(dtype)
    scaled = lazily(lambda data: data.astype(dtype, copy=False) * scale, tensor)
    layer.replace_input_with(1, constant(graph, scaled, f"{weight.name}.folded"))
    if len(layer.inputs) < 3:
        layer.resize_inputs(3)
    layer.replace_input_with(2, constant(graph, bias.astype(tensor.dtype.numpy()), f"{out}.bias"))


def _product(linear: Linear, vector: Vector) -> Vector:
    """W · vector, summed over the taps of a convolution too; of shape [out]."""
    assert linear.weight.const_value is not None
    others = tuple(axis for axis in range(len(linear.shape)) if axis != linear.out_axis)
    product = linear.weight.const_value.numpy().astype(np.float64) * _along_inputs(linear, vector)
    return np.asarray(product.sum(axis=others))


def _along_inputs(linear: Linear, vector: Vector) -> Vector:
    """``vector`` [in] as a factor of the weight."""
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


_ALONG_OUTPUTS: dict[str, Callable[[ir.Node, tuple[int, ...], Vector], Vector]] = {
    "Conv": _conv_outputs,
    "ConvTranspose": _transposed_outputs,
    "Gemm": _gemm_outputs,
}
"""How a vector [out] is a factor of the weight."""


def _shape(value: ir.Value) -> tuple[int, ...]:
    assert value.const_value is not None
    return tuple(value.const_value.shape.numpy())
