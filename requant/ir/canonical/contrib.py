"""Decomposition of ops that ONNX Runtime fuses, and of Swish, into standard ones.

    SkipLayerNormalization(x, s, γ, β, b) = LayerNormalization(x + s + b, γ, β)        BiasGelu(x, b) = Gelu(x + b)
    QuickGelu(x; α) = Swish(x; α) = x · sigmoid(α x)

Nodes without an exact equivalent, or that need a rank which is not inferred yet, stay as they are.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from inspect import Parameter, signature
from math import pi, sqrt

import onnx_ir as ir
from onnx_ir.passes import common

from ..build import NodeBuilder, Outputs
from ..refusal import declined
from ..shapes.contrib import CONTRIB
from .contrib_blocks import SKIP_EPSILON, attention, embedding
from .contrib_products import conv, gemm, matmul

_LOGGER = logging.getLogger(__name__)

_GELU_SINCE = 20
"""The first opset that has Gelu."""


class Unfuse(ir.passes.InPlacePass):
    """Replace fused nodes, most of them in ONNX Runtime's own domain, by standard ops where these compute the same."""

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        opset, modified = model.graph.opset_imports.get("", 1), False
        for graph in model.graphs():
            for node in graph:
                op = _OPS.get(node.domain, {}).get(node.op_type)
                if op is not None and isinstance(graph, ir.Graph):
                    modified |= _unfuse(NodeBuilder(graph, node, opset), op)
        if modified:
            common.NameFixPass()(model)
        return ir.passes.PassResult(model, modified)


@dataclass(frozen=True)
class _Decomposition:
    """A decomposition of an op, without its outputs at the positions ``missing``; logs why it returns None.

    ``has_constants`` where it needs constants, and so the type of the inputs.
    """

    decompose: Callable[..., Outputs | None]
    missing: tuple[int, ...] = ()
    has_constants: bool = False


def _unfuse(builder: NodeBuilder, op: _Decomposition) -> bool:
    reason = _why_not(builder, op)
    if reason is not None:
        declined(_LOGGER, builder.node, reason)
        return False
    outputs = op.decompose(builder, *builder.node.inputs)
    if outputs is not None:
        builder.replace(outputs)
    return outputs is not None


def _why_not(builder: NodeBuilder, op: _Decomposition) -> str | None:
    """Give the reason for which ``op`` cannot be applied; None where it can."""
    missing = [value for position, value in enumerate(builder.node.outputs) if position in op.missing]
    if any(value.uses() or value.is_graph_output() for value in missing):
        return "an output is used that its decomposition does not compute"
    if op.has_constants and builder.dtype is None:
        return "the type of its inputs is not inferred"
    if not _takes(op, builder.node.inputs):
        return f"it has {len(builder.node.inputs)} inputs"  # which ONNX Runtime refuses
    return None


def _takes(op: _Decomposition, inputs: Sequence[ir.Value | None]) -> bool:
    """Tell whether ``inputs`` are at most the parameters of the decomposition, and all that have no default."""
    _, *parameters = signature(op.decompose).parameters.values()
    if any(parameter.kind == Parameter.VAR_POSITIONAL for parameter in parameters):
        return len(inputs) > 1
    required = sum(parameter.default is Parameter.empty for parameter in parameters)
    return required <= len(inputs) <= len(parameters)


def _skip_layer_norm(
    builder: NodeBuilder,
    x: ir.Value,
    skip: ir.Value,
    gamma: ir.Value,
    beta: ir.Value | None = None,
    bias: ir.Value | None = None,
) -> Outputs:
    total = builder.sum(x, skip, bias)
    epsilon = builder.node.attributes.get_float("epsilon", SKIP_EPSILON)
    return builder.op("LayerNormalization", total, gamma, beta, axis=-1, epsilon=epsilon), None, None, total


def _skip_rms_norm(
    builder: NodeBuilder, x: ir.Value, skip: ir.Value, gamma: ir.Value, bias: ir.Value | None = None
) -> Outputs:
    total = builder.sum(x, skip, bias)
    epsilon = builder.node.attributes.get_float("epsilon", SKIP_EPSILON)
    return builder.op("SimplifiedLayerNormalization", total, gamma, axis=-1, epsilon=epsilon), None, None, total


def _gelu(builder: NodeBuilder, x: ir.Value, bias: ir.Value | None = None) -> Outputs:
    """Compute x · Φ(x) in the ops that PyTorch exports."""
    x = builder.sum(x, bias)
    if builder.opset >= _GELU_SINCE:
        return [builder.op("Gelu", x)]
    normal = builder.op("Add", builder.op("Erf", builder.op("Div", x, sqrt(2))), 1.0)
    return [builder.op("Mul", builder.op("Mul", x, normal), 0.5)]


def _tanh_gelu(builder: NodeBuilder, x: ir.Value, bias: ir.Value | None = None) -> Outputs:
    """Compute x/2 · (1 + tanh(√(2/π) · (x + 0.044715 x³)))."""
    x = builder.sum(x, bias)
    if builder.opset >= _GELU_SINCE:
        return [builder.op("Gelu", x, approximate="tanh")]
    cubic = builder.op("Mul", builder.op("Pow", x, 3.0), 0.044715)
    tanh = builder.op("Tanh", builder.op("Mul", builder.op("Add", x, cubic), sqrt(2 / pi)))
    return [builder.op("Mul", builder.op("Mul", x, 0.5), builder.op("Add", tanh, 1.0))]


def _quick_gelu(builder: NodeBuilder, x: ir.Value) -> Outputs:
    return _swish(builder, x, 1.702)


def _swish(builder: NodeBuilder, x: ir.Value, default: float = 1.0) -> Outputs:
    alpha = builder.node.attributes.get_float("alpha", default)
    return [builder.op("Mul", x, builder.op("Sigmoid", x if alpha == 1 else builder.op("Mul", x, alpha)))]


_CONTRIB_OPS = {
    "Attention": _Decomposition(attention, missing=(1,)),
    "BiasGelu": _Decomposition(_gelu, has_constants=True),
    "EmbedLayerNormalization": _Decomposition(embedding),
    "FastGelu": _Decomposition(_tanh_gelu, has_constants=True),
    "FusedConv": _Decomposition(conv, has_constants=True),
    "FusedGemm": _Decomposition(gemm),
    "FusedMatMul": _Decomposition(matmul, has_constants=True),
    "Gelu": _Decomposition(_gelu, has_constants=True),
    "QuickGelu": _Decomposition(_quick_gelu, has_constants=True),
    "SkipLayerNormalization": _Decomposition(_skip_layer_norm, missing=(1, 2)),
    "SkipSimplifiedLayerNormalization": _Decomposition(_skip_rms_norm, missing=(1, 2)),
    "TransposeMatMul": _Decomposition(matmul, has_constants=True),
}

_OPS = {CONTRIB: _CONTRIB_OPS, "": {"Swish": _Decomposition(_swish, has_constants=True)}}
"""By domain and op."""
