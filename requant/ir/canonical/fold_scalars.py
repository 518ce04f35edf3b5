"""Folding of a scale and an offset by numbers behind an activation into the layers that read it.

    W (s f(x) + t) + b = (s W) f(x) + (b + t W·1)

With zeros around the input, an offset cannot be folded; the scale before it can:

    W * pad(s f(x) + t) = (s W) * pad(f(x) + t / s)

PP-LCNetV3's blocks have both behind each activation.
"""

import logging

import numpy as np
import onnx_ir as ir

from ..constants import array, constant, constant_shape, lazily
from ..linear import Linear, as_linear
from ..ops import ACTIVATIONS, ADDITIVE, LINEAR, is_op
from ..refusal import declined
from ..traverse import graphs_within, sole_use
from .affine_ops import SPAN, data_position, scalar_affine
from .batch_norm import AFTER

_LOGGER = logging.getLogger(__name__)


class FoldScalars(ir.passes.InPlacePass):
    """Fold arithmetic with numbers behind an activation into the layers that read it, where nothing else does."""

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        folds = [_fold(graph, node) for graph in graphs_within(model.graph) for node in reversed(graph)]
        return ir.passes.PassResult(model, any(folds))


def _fold(graph: ir.Graph, node: ir.Node) -> bool:
    affine = scalar_affine(node)
    if affine is None or not _is_behind_activation(node):
        return False
    (scale, shift), out = affine, node.outputs[0]
    addition = _addition(out) if shift == 0 else None
    layers = _layers(addition.outputs[0] if addition is not None else out)
    if not layers or not 1 / SPAN <= abs(scale) <= SPAN:
        return False
    blocked = [f"{layer.name!r} {reason}" for layer in layers if (reason := _shift_blocked(layer))]
    if shift and blocked:
        declined(_LOGGER, node, f"{blocked[0]}, so that a shift cannot be folded")
        return False
    for layer in layers:
        if shift:
            _shift(graph, layer, shift)
        if scale != 1:
            _scale(graph, layer, scale)
    if addition is not None:
        _divide(graph, addition, scale)
    data = node.inputs[data_position(node)]
    assert data is not None
    ir.convenience.replace_all_uses_with(out, data)
    graph.remove(node, safe=True)
    return True


def _is_behind_activation(node: ir.Node) -> bool:
    """Tell whether an activation computes the data of ``node``, or of such nodes before it.

    Arithmetic behind other arithmetic may be the end of an activation that is spelled out, which engines recognize.
    """
    data = node.inputs[data_position(node)]
    producer = data.producer() if data is not None else None
    while producer is not None and scalar_affine(producer) is not None:
        data = producer.inputs[data_position(producer)]
        producer = data.producer() if data is not None else None
    return producer is not None and is_op(producer, ACTIVATIONS)


def _addition(value: ir.Value) -> ir.Node | None:
    """Return the addition of a number that alone reads ``value``."""
    use = sole_use(value)
    affine = scalar_affine(use[0]) if use is not None and is_op(use[0], ADDITIVE) else None
    return use[0] if use is not None and affine is not None and affine[0] == 1 else None


def _layers(value: ir.Value) -> list[Linear]:
    """Return the layers that read ``value``; none where anything else does."""
    uses = [] if value.is_graph_output() else [use for use in value.uses() if use.node.graph is value.graph]
    linears = [as_linear(use.node) for use in uses if use.idx == 0 and is_op(use.node, LINEAR)]
    layers = [linear for linear in linears if linear is not None and _is_float(linear.weight)]
    return layers if len(layers) == len(value.uses()) else []


def _shift_blocked(layer: Linear) -> str | None:
    """Give the reason why a shift of the data of ``layer`` is no bias of it, or None."""
    if layer.shift_blocked or not is_op(layer.node, AFTER):
        return layer.shift_blocked or "has no input for a bias"
    bias = layer.node.inputs[layer.bias[1]] if layer.bias is not None else None
    is_fit = bias is None or constant_shape(bias)[-1:] in ((1,), (layer.outputs,))
    return None if is_fit else "has a bias of another size"


def _is_float(weight: ir.Value) -> bool:
    return weight.const_value is not None and weight.const_value.dtype.is_floating_point()


def _scale(graph: ir.Graph, layer: Linear, scale: float) -> None:
    """Multiply the weight of ``layer``, when it is read; other layers may share the old one."""
    tensor = layer.weight.const_value
    assert tensor is not None
    dtype = np.promote_types(tensor.dtype.numpy(), np.float32)
    weight = lazily(lambda data: data.astype(dtype, copy=False) * dtype.type(scale), tensor)
    layer.node.replace_input_with(1, constant(graph, weight, f"{layer.weight.name}.folded"))


def _shift(graph: ir.Graph, layer: Linear, shift: float) -> None:
    """Add what ``layer`` makes of ``shift`` in all channels to its bias."""
    tensor, bias = layer.weight.const_value, layer.bias[0].inputs[layer.bias[1]] if layer.bias is not None else None
    assert tensor is not None
    axes = tuple(axis for axis in range(len(layer.shape)) if axis != layer.out_axis)
    sums = tensor.numpy().astype(np.float64).sum(axis=axes)
    old, delta = array(bias), layer.factor / layer.bias_factor * shift * sums
    total = delta if old is None else old.astype(np.float64) + delta
    if len(layer.node.inputs) < 3:
        layer.node.resize_inputs(3)
    name = f"{layer.output.name}.bias"
    layer.node.replace_input_with(2, constant(graph, total.astype(tensor.dtype.numpy()), name))


def _divide(graph: ir.Graph, addition: ir.Node, scale: float) -> None:
    """Divide the number that ``addition`` adds."""
    position = 1 - data_position(addition)
    old = addition.inputs[position]
    data = array(old)
    assert old is not None
    assert data is not None
    quotient = (data.astype(np.float64) / scale).astype(data.dtype)
    addition.replace_input_with(position, constant(graph, quotient, f"{old.name}.folded"))
