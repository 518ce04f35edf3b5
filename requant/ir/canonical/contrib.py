"""Ops that ONNX Runtime fuses, spelled out in standard ones again.

    SkipLayerNormalization(x, s, γ, β, b) = LayerNormalization(x + s + b, γ, β)        BiasGelu(x, b) = Gelu(x + b)
    FusedMatMul(x, y; α) = α · x y                 QuickGelu(x; α) = x · sigmoid(α x)
    FusedConv(x, w, b, z) = f(Conv(x, w, b) + z)   FusedGemm(x, w, b) = f(Gemm(x, w, b))

What has no exact equivalent, or needs a rank that is not known yet, stays as it is.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from inspect import Parameter, signature
from math import pi, sqrt

import onnx_ir as ir
from onnx_ir.passes import common

from ..build import Outputs, Parts
from ..shapes.contrib import CONTRIB
from .contrib_blocks import SKIP_EPSILON, attention, embedding

_GELU_SINCE = 20
"""The first opset that has Gelu."""


class Unfuse(ir.passes.InPlacePass):
    """Replace the nodes of ONNX Runtime's own domain that standard ops can stand for."""

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        opset, modified = model.graph.opset_imports.get("", 1), False
        for graph in model.graphs():
            for node in graph:
                if node.domain == CONTRIB and node.op_type in _OPS and isinstance(graph, ir.Graph):
                    modified |= _unfuse(Parts(graph, node, opset), _OPS[node.op_type])
        if modified:
            common.NameFixPass()(model)
        return ir.passes.PassResult(model, modified)


@dataclass(frozen=True)
class _Spelling:
    """How to spell an op: what stands for its outputs, of which those at ``lost`` cannot be had.

    ``numbers`` says that constants are needed, and so the type of the inputs.
    """

    spell: Callable[..., Outputs | None]
    lost: tuple[int, ...] = ()
    numbers: bool = False


def _unfuse(parts: Parts, op: _Spelling) -> bool:
    lost = [value for position, value in enumerate(parts.whole.outputs) if position in op.lost]
    if any(value.uses() or value.is_graph_output() for value in lost) or (op.numbers and parts.dtype is None):
        return False
    if not _takes(op, parts.whole.inputs):
        return False  # ONNX Runtime says what is wrong with it
    outputs = op.spell(parts, *parts.whole.inputs)
    if outputs is not None:
        parts.take_place(outputs)
    return outputs is not None


def _takes(op: _Spelling, inputs: Sequence[ir.Value | None]) -> bool:
    """Whether ``op`` has as many inputs as its spelling has parameters, and all that have no default."""
    _, *parameters = signature(op.spell).parameters.values()
    if any(parameter.kind == Parameter.VAR_POSITIONAL for parameter in parameters):
        return len(inputs) > 1
    wanted = sum(parameter.default is Parameter.empty for parameter in parameters)
    return wanted <= len(inputs) <= len(parameters)


def _skip_layer_norm(
    parts: Parts,
    x: ir.Value,
    skip: ir.Value,
    gamma: ir.Value,
    beta: ir.Value | None = None,
    bias: ir.Value | None = None,
) -> Outputs:
    total = parts.sum(x, skip, bias)
    epsilon = parts.whole.attributes.get_float("epsilon", SKIP_EPSILON)
    return parts.op("LayerNormalization", total, gamma, beta, axis=-1, epsilon=epsilon), None, None, total


def _skip_rms_norm(parts: Parts, x: ir.Value, skip: ir.Value, gamma: ir.Value, bias: ir.Value | None = None) -> Outputs:
    total = parts.sum(x, skip, bias)
    epsilon = parts.whole.attributes.get_float("epsilon", SKIP_EPSILON)
    return parts.op("SimplifiedLayerNormalization", total, gamma, axis=-1, epsilon=epsilon), None, None, total


def _gelu(parts: Parts, x: ir.Value, bias: ir.Value | None = None) -> Outputs:
    """x · Φ(x), in the words that PyTorch has for it."""
    x = parts.sum(x, bias)
    if parts.opset >= _GELU_SINCE:
        return [parts.op("Gelu", x)]
    normal = parts.op("Add", parts.op("Erf", parts.op("Div", x, sqrt(2))), 1.0)
    return [parts.op("Mul", parts.op("Mul", x, normal), 0.5)]


def _tanh_gelu(parts: Parts, x: ir.Value, bias: ir.Value | None = None) -> Outputs:
    """x/2 · (1 + tanh(√(2/π) · (x + 0.044715 x³)))."""
    x = parts.sum(x, bias)
    if parts.opset >= _GELU_SINCE:
        return [parts.op("Gelu", x, approximate="tanh")]
    cubic = parts.op("Mul", parts.op("Pow", x, 3.0), 0.044715)
    bent = parts.op("Tanh", parts.op("Mul", parts.op("Add", x, cubic), sqrt(2 / pi)))
    return [parts.op("Mul", parts.op("Mul", x, 0.5), parts.op("Add", bent, 1.0))]


def _quick_gelu(parts: Parts, x: ir.Value) -> Outputs:
    alpha = parts.whole.attributes.get_float("alpha", 1.702)
    return [parts.op("Mul", x, parts.op("Sigmoid", x if alpha == 1 else parts.op("Mul", x, alpha)))]


def _matmul(parts: Parts, x: ir.Value, y: ir.Value) -> Outputs | None:
    attributes = parts.whole.attributes
    flags = [attributes.get_int(name, 0) for name in ("transA", "transB")]
    if any(attributes.get_int(name, 0) for name in ("transBatchA", "transBatchB")):
        return None
    if any(flag and (value.shape is None or len(value.shape) < 2) for flag, value in zip(flags, (x, y), strict=True)):
        return None
    left, right = (_transposed(parts, value) if flag else value for flag, value in zip(flags, (x, y), strict=True))
    alpha, product = attributes.get_float("alpha", 1.0), parts.op("MatMul", left, right)
    return [product if alpha == 1 else parts.op("Mul", product, alpha)]


def _transposed(parts: Parts, value: ir.Value) -> ir.Value:
    rank = len(value.shape) if value.shape is not None else 0
    return parts.op("Transpose", value, perm=[*range(rank - 2), rank - 1, rank - 2])


def _gemm(parts: Parts, *inputs: ir.Value | None) -> Outputs | None:
    return _activated(parts, "Gemm", inputs, None)


def _conv(
    parts: Parts, x: ir.Value, w: ir.Value, b: ir.Value | None = None, z: ir.Value | None = None
) -> Outputs | None:
    return _activated(parts, "Conv", (x, w, b), z)


def _activated(
    parts: Parts, op_type: str, inputs: Sequence[ir.Value | None], addend: ir.Value | None
) -> Outputs | None:
    """activation(op(inputs) + addend), the attributes of both being attributes of the whole."""
    attributes = parts.whole.attributes
    activation = attributes.get_string("activation", "")
    if activation and activation not in _ACTIVATIONS:
        return None
    own = {name: attribute for name, attribute in attributes.items() if not name.startswith("activation")}
    y = parts.sum(parts.op(op_type, *inputs, **own), addend)
    names = _ACTIVATIONS.get(activation, ())
    parameters = dict(zip(names, attributes.get_floats("activation_params", ()), strict=False))
    parameters |= {
        name: attributes.get_float(f"activation_{name}") for name in names if f"activation_{name}" in attributes
    }
    if activation == "Clip":
        return [parts.op("Clip", y, parameters.get("min"), parameters.get("max"))]
    return [parts.op(activation, y, **parameters) if activation else y]


_ACTIVATIONS: dict[str, tuple[str, ...]] = {
    "Clip": ("min", "max"),
    "Elu": ("alpha",),
    "HardSigmoid": ("alpha", "beta"),
    "LeakyRelu": ("alpha",),
    "Relu": (),
    "Selu": ("alpha", "gamma"),
    "Sigmoid": (),
    "Softplus": (),
    "Softsign": (),
    "Tanh": (),
    "ThresholdedRelu": ("alpha",),
}
"""What may follow a fused Conv or Gemm, and its parameters in the order in which a Conv lists them."""


_OPS = {
    "Attention": _Spelling(attention, lost=(1,)),
    "BiasGelu": _Spelling(_gelu, numbers=True),
    "EmbedLayerNormalization": _Spelling(embedding),
    "FastGelu": _Spelling(_tanh_gelu, numbers=True),
    "FusedConv": _Spelling(_conv, numbers=True),
    "FusedGemm": _Spelling(_gemm),
    "FusedMatMul": _Spelling(_matmul, numbers=True),
    "Gelu": _Spelling(_gelu, numbers=True),
    "QuickGelu": _Spelling(_quick_gelu, numbers=True),
    "SkipLayerNormalization": _Spelling(_skip_layer_norm, lost=(1, 2)),
    "SkipSimplifiedLayerNormalization": _Spelling(_skip_rms_norm, lost=(1, 2)),
    "TransposeMatMul": _Spelling(_matmul, numbers=True),
}
