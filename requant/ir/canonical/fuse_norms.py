"""Fusion of the norms that exporters write in many ways into one form.

(x - mean x) / sqrt(var x + ε) · γ + β          = LayerNormalization(x, γ, β)
x · i + (β - mean x · i),  i = γ / sqrt(var x + ε) = LayerNormalization(x, γ, β)
d · (γ / sqrt(mean d² + ε))                     = d / sqrt(mean d² + ε) · γ
x / sqrt(mean x² + ε)                           = x / sqrt(mean x² + ε) · 1      where a linear layer reads it
"""

import logging

import numpy as np
import onnx_ir as ir
from onnx_ir.convenience import replace_nodes_and_values

from ..constants import constant
from ..linear import as_linear
from ..norm_patterns import bare, is_vector, mean_of, normalized, scaled_inverse_root, source_of
from ..norms import affine_step
from ..ops import MULTIPLICATIVE
from ..refusal import declined
from ..traverse import graphs_within, sole_use

_LOGGER = logging.getLogger(__name__)

_HALVES = (ir.DataType.FLOAT16, ir.DataType.BFLOAT16)
"""Types whose norms LayerNormalization computes in float32, as the decomposed ones do."""


class FuseNorms(ir.passes.InPlacePass):
    """Bring the norms of each graph into the form that `find_norms` matches."""

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        modified = False
        for rewrite in (_move_gain_out, _fuse_offset_form, _fuse_layer_norm, _add_gain):
            for graph in graphs_within(model.graph):
                for node in graph:
                    modified |= node.domain == "" and rewrite(graph, node)
        return ir.passes.PassResult(model, modified)


def _move_gain_out(graph: ir.Graph, node: ir.Node) -> bool:
    """Rewrite d · (γ · r) as (d · r) · γ."""
    for deviation, factor in _operands(node.outputs[0], "Mul"):
        root = scaled_inverse_root(factor)
        if root is None:
            continue
        inverse, gamma, match = root
        if source_of(deviation) != (match.x, match.centred):
            declined(_LOGGER, node, "its factors are a deviation and an inverse root of different values")
            continue
        normal = _like(ir.node("Mul", [deviation, inverse]), node.outputs[0])
        gained = _like(ir.node("Mul", [normal.outputs[0], gamma]), node.outputs[0])
        gained.name, normal.outputs[0].name = node.name, f"{node.outputs[0].name}.normal"
        replace_nodes_and_values(graph, node, [node], [normal, gained], node.outputs, gained.outputs)
        return True
    return False


def _fuse_offset_form(graph: ir.Graph, node: ir.Node) -> bool:
    """Fuse x · i + (β - mean x · i), TensorFlow's batch_normalization, into a LayerNormalization."""
    out = node.outputs[0]
    for product, offset in _operands(out, "Add"):
        for x, inverse in _operands(product, "Mul"):
            root = scaled_inverse_root(inverse)
            if root is None:
                continue
            _, gamma, match = root
            if not match.centred or match.x is not bare(x) or match.x.dtype != out.dtype:
                declined(_LOGGER, node, "it scales another value than that of its variance, or in another type")
                continue
            beta = _offset(offset, inverse, match.x)
            if beta is not None and beta.shape == gamma.shape:
                _insert_layer_norm(graph, [node], out, [match.x, gamma, beta], match.epsilon)
                return True
            declined(_LOGGER, node, f"{offset.name!r} is not an offset by the mean, of the shape of the gain")
    return False


def _offset(value: ir.Value, inverse: ir.Value, x: ir.Value) -> ir.Value | None:
    """Return β when ``value`` is β - mean x · inverse."""
    node = value.producer()
    if node is None or node.op_type != "Sub" or not is_vector(node.inputs[0]):
        return None
    is_match = any(mean_of(mean) is x and factor is inverse for mean, factor in _operands(node.inputs[1], "Mul"))
    return node.inputs[0] if is_match else None


def _operands(value: ir.Value | None, op_type: str) -> list[tuple[ir.Value, ir.Value]]:
    """List the two operands of the ``op_type`` that produces ``value``, in both orders; none for another producer."""
    node = value.producer() if value is not None else None
    if node is None or node.op_type != op_type or node.domain != "":
        return []
    left, right = node.inputs
    return [] if left is None or right is None else [(left, right), (right, left)]


def _fuse_layer_norm(graph: ir.Graph, last: ir.Node) -> bool:
    """Fuse a normalized value, and the gain and shift after it if there are any, into a LayerNormalization."""
    match = normalized(last.outputs[0]) if last.op_type in MULTIPLICATIVE else None
    if match is None or not match.centred:
        return False
    ends = _in_one_type(match.x, last.outputs[0])
    if ends is None:
        declined(_LOGGER, last, "the norm is computed in another type than its input")
        return False
    x, out = ends
    steps, parameters = [last, *_cast_of(out, last)], list[ir.Value]()
    for op_type in ("Mul", "Add"):  # a sequence: γ is multiplied before β is added
        step = affine_step(out, op_type) if op_type == "Mul" or parameters else None
        if step is not None:
            node, parameter = step
            steps, parameters, out = [*steps, node], [*parameters, parameter], node.outputs[0]
    if not parameters:
        gamma = _ones(graph, x, out)
        if gamma is None:
            declined(_LOGGER, last, "it has no gain, and the width of its input is dynamic")
            return False
        parameters = [gamma]
    _insert_layer_norm(graph, steps, out, [x, *parameters], match.epsilon)
    return True


def _in_one_type(x: ir.Value, normal: ir.Value) -> tuple[ir.Value, ir.Value] | None:
    """Return the input and the normalized value, both before or both after the casts around the norm."""
    if x.dtype == normal.dtype:
        return x, normal
    use = sole_use(normal)
    if x.dtype in _HALVES and use is not None and use[0].op_type == "Cast" and use[0].outputs[0].dtype == x.dtype:
        return x, use[0].outputs[0]
    casts = [use.node.outputs[0] for use in x.uses() if use.node.op_type == "Cast"]
    casts = [value for value in casts if value.dtype == normal.dtype == ir.DataType.FLOAT]
    return (casts[0], normal) if casts else None


def _cast_of(value: ir.Value, last: ir.Node) -> list[ir.Node]:
    node = value.producer()
    return [] if node is None or node is last else [node]


def _insert_layer_norm(
    graph: ir.Graph, steps: list[ir.Node], out: ir.Value, inputs: list[ir.Value], epsilon: float
) -> None:
    """Replace ``steps``, which are in graph order, by a LayerNormalization with the output ``out``."""
    fused = ir.node("LayerNormalization", inputs, {"axis": -1, "epsilon": epsilon})
    fused.name = steps[0].name
    replace_nodes_and_values(graph, steps[-1], steps[::-1], [fused], [out], fused.outputs)


def _add_gain(graph: ir.Graph, last: ir.Node) -> bool:
    """Add a gain of 1 to an RMSNorm without one where a linear layer reads it."""
    match = normalized(last.outputs[0]) if last.op_type in MULTIPLICATIVE else None
    if match is None or match.centred:
        return False
    normal, use = last.outputs[0], sole_use(last.outputs[0])
    if use is not None and use[0].op_type == "Cast":
        normal = use[0].outputs[0]
    uses = list(normal.uses())
    linears = [as_linear(use.node) for use in uses]
    if not any(linear is not None and linear.data is normal for linear in linears) or any(
        use.node.op_type == "Mul" and is_vector(use.node.inputs[1 - use.idx]) for use in uses
    ):
        return False
    gamma, producer = _ones(graph, normal, normal), normal.producer()
    if gamma is None or producer is None:
        declined(_LOGGER, last, "it has no gain, and its width is dynamic")
        return False
    gain = _like(ir.node("Mul", [normal, gamma]), normal)
    gain.outputs[0].name = gain.name = f"{normal.name}.gained"
    for use in uses:
        use.node.replace_input_with(use.idx, gain.outputs[0])
    graph.insert_after(producer, gain)
    return True


def _ones(graph: ir.Graph, x: ir.Value, out: ir.Value) -> ir.Value | None:
    width = x.shape[-1] if x.shape else None
    if not isinstance(width, int) or x.dtype is None:
        return None
    return constant(graph, np.ones(width, x.dtype.numpy()), f"{out.name}.scale")


def _like(node: ir.Node, value: ir.Value) -> ir.Node:
    node.outputs[0].shape, node.outputs[0].type = value.shape, value.type
    return node
