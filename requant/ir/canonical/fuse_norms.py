"""One spelling for the norms that exporters write in many ways.

(x - mean x) / sqrt(var x + ε) · γ + β          = LayerNormalization(x, γ, β)
x · i + (β - mean x · i),  i = γ / sqrt(var x + ε) = LayerNormalization(x, γ, β)
d · (γ / sqrt(mean d² + ε))                     = d / sqrt(mean d² + ε) · γ
x / sqrt(mean x² + ε)                           = x / sqrt(mean x² + ε) · 1      where a linear layer reads it
"""

import numpy as np
import onnx_ir as ir
from onnx_ir.convenience import replace_nodes_and_values

from ..constants import constant
from ..linear import as_linear
from ..norm_patterns import bare, is_vector, mean_of, normalized, scaled_inverse_root, source_of
from ..norms import affine_step
from ..traverse import sole_use

_HALVES = (ir.DataType.FLOAT16, ir.DataType.BFLOAT16)
"""Types whose norms LayerNormalization computes in float32, as the spelled out ones do."""


class FuseNorms(ir.passes.InPlacePass):
    """Bring the norms of the main graph into the spelling that `find_norms` knows."""

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        modified = False
        for rewrite in (_draw_out_gain, _fuse_offset_form, _fuse_layer_norm, _give_gain):
            for node in model.graph:
                modified |= node.domain == "" and rewrite(model.graph, node)
        return ir.passes.PassResult(model, modified)


def _draw_out_gain(graph: ir.Graph, node: ir.Node) -> bool:
    """d · (γ · r) becomes (d · r) · γ."""
    for deviation, scaled in _operands(node.outputs[0], "Mul"):
        found = scaled_inverse_root(scaled)
        if found is None or source_of(deviation) != (found[2].x, found[2].centred):
            continue
        inverse, gamma, _ = found
        normal = _like(ir.node("Mul", [deviation, inverse]), node.outputs[0])
        gained = _like(ir.node("Mul", [normal.outputs[0], gamma]), node.outputs[0])
        gained.name, normal.outputs[0].name = node.name, f"{node.outputs[0].name}.normal"
        replace_nodes_and_values(graph, node, [node], [normal, gained], node.outputs, gained.outputs)
        return True
    return False


def _fuse_offset_form(graph: ir.Graph, node: ir.Node) -> bool:
    """x · i + (β - mean x · i), which is TensorFlow's batch_normalization, becomes a LayerNormalization."""
    out = node.outputs[0]
    for scaled, offset in _operands(out, "Add"):
        for x, inverse in _operands(scaled, "Mul"):
            found = scaled_inverse_root(inverse)
            if found is None or not found[2].centred or found[2].x is not bare(x) or found[2].x.dtype != out.dtype:
                continue
            _, gamma, match = found
            beta = _offset(offset, inverse, match.x)
            if beta is not None and beta.shape == gamma.shape:
                _put_layer_norm(graph, [node], out, [match.x, gamma, beta], match.epsilon)
                return True
    return False


def _offset(value: ir.Value, inverse: ir.Value, x: ir.Value) -> ir.Value | None:
    """β when ``value`` is β - mean x · inverse."""
    node = value.producer()
    if node is None or node.op_type != "Sub" or not is_vector(node.inputs[0]):
        return None
    shifts = any(mean_of(mean) is x and other is inverse for mean, other in _operands(node.inputs[1], "Mul"))
    return node.inputs[0] if shifts else None


def _operands(value: ir.Value | None, op_type: str) -> list[tuple[ir.Value, ir.Value]]:
    """The two operands of the ``op_type`` that makes ``value``, in both orders; none if something else makes it."""
    node = value.producer() if value is not None else None
    if node is None or node.op_type != op_type or node.domain != "":
        return []
    one, other = node.inputs
    return [] if one is None or other is None else [(one, other), (other, one)]


def _fuse_layer_norm(graph: ir.Graph, last: ir.Node) -> bool:
    """A normalized value, and the gain and shift after it if there are any, become a LayerNormalization."""
    match = normalized(last.outputs[0]) if last.op_type in ("Div", "Mul") else None
    found = _in_one_type(match.x, last.outputs[0]) if match is not None and match.centred else None
    if match is None or found is None:
        return False
    x, out = found
    steps, parameters = [last, *_caster(out, last)], list[ir.Value]()
    for op_type in ("Mul", "Add"):
        step = affine_step(out, op_type) if op_type == "Mul" or parameters else None
        if step is not None:
            node, parameter = step
            steps, parameters, out = [*steps, node], [*parameters, parameter], node.outputs[0]
    if not parameters:
        gamma = _ones(graph, x, out)
        if gamma is None:
            return False
        parameters = [gamma]
    _put_layer_norm(graph, steps, out, [x, *parameters], match.epsilon)
    return True


def _in_one_type(x: ir.Value, normal: ir.Value) -> tuple[ir.Value, ir.Value] | None:
    """The input and the normalized value, both before or both after the casts around the norm."""
    if x.dtype == normal.dtype:
        return x, normal
    use = sole_use(normal)
    if x.dtype in _HALVES and use is not None and use[0].op_type == "Cast" and use[0].outputs[0].dtype == x.dtype:
        return x, use[0].outputs[0]
    wide = [use.node.outputs[0] for use in x.uses() if use.node.op_type == "Cast"]
    wide = [value for value in wide if value.dtype == normal.dtype == ir.DataType.FLOAT]
    return (wide[0], normal) if wide else None


def _caster(value: ir.Value, maker: ir.Node) -> list[ir.Node]:
    node = value.producer()
    return [] if node is None or node is maker else [node]


def _put_layer_norm(
    graph: ir.Graph, steps: list[ir.Node], out: ir.Value, inputs: list[ir.Value], epsilon: float
) -> None:
    """Put a LayerNormalization that makes ``out`` in the place of ``steps``, which are in graph order."""
    fused = ir.node("LayerNormalization", inputs, {"axis": -1, "epsilon": epsilon})
    fused.name = steps[0].name
    replace_nodes_and_values(graph, steps[-1], steps[::-1], [fused], [out], fused.outputs)


def _give_gain(graph: ir.Graph, last: ir.Node) -> bool:
    """An RMSNorm without a gain is given one where a linear layer reads it."""
    match = normalized(last.outputs[0]) if last.op_type in ("Div", "Mul") else None
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
    gamma, maker = _ones(graph, normal, normal), normal.producer()
    if gamma is None or maker is None:
        return False
    gain = _like(ir.node("Mul", [normal, gamma]), normal)
    gain.outputs[0].name = gain.name = f"{normal.name}.gained"
    for use in uses:
        use.node.replace_input_with(use.idx, gain.outputs[0])
    graph.insert_after(maker, gain)
    return True


def _ones(graph: ir.Graph, x: ir.Value, out: ir.Value) -> ir.Value | None:
    width = x.shape[-1] if x.shape else None
    if not isinstance(width, int) or x.dtype is None:
        return None
    return constant(graph, np.ones(width, x.dtype.numpy()), f"{out.name}.scale")


def _like(node: ir.Node, value: ir.Value) -> ir.Node:
    node.outputs[0].shape, node.outputs[0].type = value.shape, value.type
    return node
