"""Decomposition of ONNX Runtime's fused products.

FusedMatMul(x, y; α) = α · x y        FusedConv(x, w, b, z) = f(Conv(x, w, b) + z)
FusedGemm(x, w, b) = f(Gemm(x, w, b))
"""

import logging
from collections.abc import Sequence

import onnx_ir as ir

from ..build import NodeBuilder, Outputs
from ..refusal import declined

_LOGGER = logging.getLogger(__name__)


def matmul(builder: NodeBuilder, x: ir.Value, y: ir.Value) -> Outputs | None:
    """Decompose a FusedMatMul into α · x y, with Transposes."""
    attributes = builder.node.attributes
    flags = [attributes.get_int(name, 0) for name in ("transA", "transB")]
    if any(attributes.get_int(name, 0) for name in ("transBatchA", "transBatchB")):
        declined(_LOGGER, builder.node, "it transposes its batch axes")
        return None
    if any(flag and (value.shape is None or len(value.shape) < 2) for flag, value in zip(flags, (x, y), strict=True)):
        declined(_LOGGER, builder.node, "the rank of an input that it transposes is not inferred")
        return None
    left, right = (_transposed(builder, value) if flag else value for flag, value in zip(flags, (x, y), strict=True))
    alpha, product = attributes.get_float("alpha", 1.0), builder.op("MatMul", left, right)
    return [product if alpha == 1 else builder.op("Mul", product, alpha)]


def _transposed(builder: NodeBuilder, value: ir.Value) -> ir.Value:
    rank = len(value.shape) if value.shape is not None else 0
    return builder.op("Transpose", value, perm=[*range(rank - 2), rank - 1, rank - 2])


def gemm(builder: NodeBuilder, *inputs: ir.Value | None) -> Outputs | None:
    """Decompose a FusedGemm into a Gemm and its activation."""
    return _activated(builder, "Gemm", inputs, None)


def conv(
    builder: NodeBuilder, x: ir.Value, w: ir.Value, b: ir.Value | None = None, z: ir.Value | None = None
) -> Outputs | None:
    """Decompose a FusedConv into a Conv, an Add and its activation."""
    return _activated(builder, "Conv", (x, w, b), z)


def _activated(
    builder: NodeBuilder, op_type: str, inputs: Sequence[ir.Value | None], addend: ir.Value | None
) -> Outputs | None:
    """Compute activation(op(inputs) + addend), by the attributes of the fused node."""
    attributes = builder.node.attributes
    activation = attributes.get_string("activation", "")
    if activation and activation not in _ACTIVATIONS:
        declined(_LOGGER, builder.node, f"{activation!r} has no standard op")
        return None
    op_attributes = {name: attribute for name, attribute in attributes.items() if not name.startswith("activation")}
    y = builder.sum(builder.op(op_type, *inputs, **op_attributes), addend)
    names = _ACTIVATIONS.get(activation, ())
    parameters = dict(zip(names, attributes.get_floats("activation_params", ()), strict=False))
    parameters |= {
        name: attributes.get_float(f"activation_{name}") for name in names if f"activation_{name}" in attributes
    }
    if activation == "Clip":
        return [builder.op("Clip", y, parameters.get("min"), parameters.get("max"))]
    return [builder.op(activation, y, **parameters) if activation else y]


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
"""Activations of a fused Conv or Gemm, and their parameters in the order in which a Conv lists them."""
