"""Folding of BatchNorms, and of scales and offsets for each channel, into the layers beside them.

BatchNorm(x) = s x + h,  s = γ / √(σ² + ε),  h = β - s μ
s (W x + b) + h = (s W) x + (s b + h)              W (s x + h) + b = (W s) x + (b + W h)
"""

import logging
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from ..constants import array, constant, is_constant, lazily
from ..linear import as_linear
from ..ops import ARITHMETIC, BIASED, CONVOLUTIONS, is_op
from ..refusal import declined
from ..traverse import graphs_within, sole_use
from .affine_ops import AFFINE
from .weight_factors import ALONG_OUTPUTS, Vector, along_inputs, product

_LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Affine:
    """A ``node`` that computes scale · data + shift for each of the C channels of axis 1."""

    node: ir.Node
    data: ir.Value
    scale: Vector
    shift: Vector


class FoldBatchNorm(ir.passes.InPlacePass):
    """Fold each BatchNormalization into the layer before it in its graph, or else into the one after it.

    A Mul, Div, Add or Sub of a constant for each channel is folded into the convolution before it.
    """

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        folds = [_fold(graph, node) for graph in graphs_within(model.graph) for node in graph]
        return ir.passes.PassResult(model, any(folds))


def _fold(graph: ir.Graph, node: ir.Node) -> bool:
    affine = _batch_norm(node) or _channelwise(node)
    if affine is None:
        return False
    reason = _fold_into_previous(graph, affine)
    if reason is not None and (after := _fold_into_next(graph, affine)) is not None:
        declined(_LOGGER, node, f"{reason}, and {after}")
        return False
    return True


def _batch_norm(node: ir.Node) -> _Affine | None:
    if node.op_type != "BatchNormalization" or node.domain != "":
        return None
    if node.attributes.get_int("training_mode", 0) != 0:
        declined(_LOGGER, node, "BatchNormalization in training mode")
        return None
    data, arrays = node.inputs[0], [array(value) for value in node.inputs[1:]]
    parameters = [parameter.astype(np.float64) for parameter in arrays if parameter is not None]
    if data is None or len(parameters) != 4:
        declined(_LOGGER, node, "its parameters are computed at run time")
        return None
    gamma, beta, mean, variance = parameters
    channels = data.shape[1] if data.shape is not None and len(data.shape) > 1 else len(gamma)
    if isinstance(channels, int) and any(parameter.shape != (channels,) for parameter in parameters):
        declined(_LOGGER, node, f"its parameters do not fit {channels} channels")  # which old opsets do not validate
        return None
    scale = gamma / np.sqrt(variance + node.attributes.get_float("epsilon", 1e-5))
    return _Affine(node, data, scale, beta - scale * mean)


def _channelwise(node: ir.Node) -> _Affine | None:
    if not is_op(node, ARITHMETIC):
        return None
    for position, (data, operand) in enumerate((node.inputs, node.inputs[::-1])):
        layer, affine = data.producer() if data is not None else None, AFFINE.get((node.op_type, position))
        if data is not None and layer is not None and layer.op_type in CONVOLUTIONS:
            vector = _along_channels(operand, data.shape)
            if affine is not None and vector is not None and (node.op_type != "Div" or vector.all()):
                scale, shift = (np.broadcast_to(part, vector.shape) for part in affine(vector))
                return _Affine(node, data, scale, shift)
            if is_constant(operand):
                declined(_LOGGER, node, "its constant is not a valid scale or offset for each channel")
    return None


def _along_channels(value: ir.Value | None, shape: ir.Shape | None) -> Vector | None:
    """Read a constant that varies along axis 1 of ``shape`` at most, as [C]; None if it is not one."""
    if shape is None or value is None or value.const_value is None or not is_constant(value):
        return None
    sizes, channels = tuple(value.const_value.shape.numpy()), shape[1]
    full = (1,) * (len(shape) - len(sizes)) + sizes
    if not isinstance(channels, int) or len(full) > len(shape):
        return None
    if full[1] not in (1, channels) or any(size != 1 for size in (full[0], *full[2:])):
        return None
    return np.broadcast_to(value.const_value.numpy().astype(np.float64).reshape(-1), (channels,))


def _fold_into_previous(graph: ir.Graph, affine: _Affine) -> str | None:
    """Fold ``affine`` into the layer that computes its data; returns the reason if that is not possible."""
    layer, out = affine.data.producer(), affine.node.outputs[0]
    along_outputs = ALONG_OUTPUTS.get(layer.op_type) if layer is not None and layer.domain == "" else None
    if layer is None or along_outputs is None:
        return "no Conv, ConvTranspose or Gemm computes its input"
    if sole_use(affine.data) is None:
        return f"{affine.data.name!r} has other consumers"
    weight, bias = layer.inputs[1], layer.inputs[2] if len(layer.inputs) > 2 else None
    beta = layer.attributes.get_float("beta", 1.0)
    if weight is None or not is_constant(weight) or not (bias is None or is_constant(bias)) or beta == 0:
        return f"{layer.name!r} has no constant weight and bias"
    old_bias = array(bias)
    shift = affine.shift / beta + (0 if old_bias is None else old_bias.astype(np.float64) * affine.scale)
    _rewrite(graph, layer, weight, along_outputs(layer, _shape(weight), affine.scale), shift)
    name = out.name
    ir.convenience.replace_all_uses_with(out, affine.data, replace_graph_outputs=True)
    graph.remove(affine.node, safe=True)
    affine.data.name = name
    return None


def _fold_into_next(graph: ir.Graph, affine: _Affine) -> str | None:
    """Fold a BatchNorm into the layer that reads it; returns the reason if that is not possible."""
    if affine.node.op_type != "BatchNormalization":
        return "it is not a BatchNormalization, which alone is folded into the layer after it"
    out = affine.node.outputs[0]
    use = sole_use(out)
    linear = as_linear(use[0]) if use is not None else None
    if linear is None or linear.data is not out or linear.node.op_type not in AFTER:
        return "its only consumer is not a Conv or Gemm"
    if (reason := linear.shift_blocked) and affine.shift.any():
        return f"{linear.name!r} {reason}, which a shift would change"
    weight, bias = linear.weight, array(linear.bias[0].inputs[linear.bias[1]]) if linear.bias else None
    ratio = linear.node.attributes.get_float("alpha", 1.0) / linear.node.attributes.get_float("beta", 1.0)
    shift = ratio * product(linear, affine.shift) + (0 if bias is None else bias.astype(np.float64))
    _rewrite(graph, linear.node, weight, along_inputs(linear, affine.scale), shift)
    linear.node.replace_input_with(0, affine.data)
    graph.remove(affine.node, safe=True)
    return None


AFTER = BIASED - {"ConvTranspose"}
"""Layers that take up a BatchNorm before them: in a ConvTranspose, not every output is a sum over all taps."""


def _rewrite(graph: ir.Graph, layer: ir.Node, weight: ir.Value, factor: Vector, bias: Vector) -> None:
    """Give ``layer`` a new weight and bias; the weight is multiplied when it is read."""
    tensor, out = weight.const_value, layer.outputs[0].name
    assert tensor is not None
    dtype = np.promote_types(tensor.dtype.numpy(), np.float32)
    scale = factor.astype(dtype)
    new_weight = lazily(lambda data: data.astype(dtype, copy=False) * scale, tensor)
    layer.replace_input_with(1, constant(graph, new_weight, f"{weight.name}.folded"))
    if len(layer.inputs) < 3:
        layer.resize_inputs(3)
    layer.replace_input_with(2, constant(graph, bias.astype(tensor.dtype.numpy()), f"{out}.bias"))


def _shape(value: ir.Value) -> tuple[int, ...]:
    assert value.const_value is not None
    return tuple(value.const_value.shape.numpy())
