"""One view of normalizations, fused or decomposed.

    LayerNorm(x) = (x - mean x) / sqrt(var x + ε) · γ + β          RMSNorm(x) = x / sqrt(mean x² + ε) · γ

A decomposed RMSNorm stays as it is: no opset below 23 has the op, and its gain is the constant of its last Mul,
which is all that the analysis needs.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, TypeAlias

import onnx_ir as ir

from .constants import is_constant
from .norm_patterns import is_vector, normalized
from .refusal import Refusal
from .traverse import Slot, sole_use

NormKind: TypeAlias = Literal["LayerNorm", "RMSNorm", "BatchNorm"]


@dataclass(frozen=True)
class Norm:
    """A normalization, and the inputs that take its parameters.

    ``scale`` is the input that takes γ, of shape [C]. ``shift`` is the input that takes β, which may be
    empty, or None when the op has no place for one. ``axis`` is the channels' axis in the output.
    """

    kind: NormKind
    output: ir.Value
    scale: Slot
    shift: Slot | None
    channels: int
    axis: int = -1


_FUSED: dict[str, tuple[NormKind, int | None]] = {
    "LayerNormalization": ("LayerNorm", 2),
    "RMSNormalization": ("RMSNorm", None),
    "SimplifiedLayerNormalization": ("RMSNorm", None),
    "BatchNormalization": ("BatchNorm", 2),
}
"""By op, the kind and the position of β, if there is one."""


def find_norms(graph: ir.Graph) -> Iterator[Norm | Refusal]:
    """Yield every norm of ``graph`` in order, or a refusal where the gain cannot be rewritten."""
    for node in graph:
        if node.domain != "":
            continue
        if node.op_type in _FUSED:
            yield _fused(node)
        elif node.op_type == "Mul" and (norm := _decomposed_rms(node)):
            yield norm


def _fused(node: ir.Node) -> Norm | Refusal:
    kind, shift = _FUSED[node.op_type]
    if kind == "BatchNorm" and node.attributes.get_int("training_mode", 0) != 0:
        return Refusal.at(node, "it is in training mode")
    gamma = node.inputs[1] if len(node.inputs) > 1 else None
    if not is_constant(gamma) or gamma is None or gamma.shape is None:
        return Refusal.at(node, "its scale is computed at run time")
    if len(gamma.shape) != 1:
        return Refusal.at(node, f"it normalizes over {len(gamma.shape)} axes, not over the channels alone")
    beta = node.inputs[2] if shift is not None and len(node.inputs) > 2 else None
    if beta is not None and not is_constant(beta):
        return Refusal.at(node, "its bias is computed at run time")
    if shift is None:
        return _rms((node, 1), int(gamma.shape.numpy()[0]))
    axis = 1 if kind == "BatchNorm" else -1
    return Norm(kind, node.outputs[0], (node, 1), (node, shift), int(gamma.shape.numpy()[0]), axis)


def _rms(scale: Slot, channels: int) -> Norm:
    """Return an RMSNorm with its gain at ``scale``; a constant that is added to all of its output is its bias."""
    output, step = scale[0].outputs[0], affine_step(scale[0].outputs[0], "Add")
    if step is None:
        return Norm("RMSNorm", output, scale, None, channels)
    node, beta = step
    return Norm("RMSNorm", node.outputs[0], scale, (node, node.inputs.index(beta)), channels)


def _decomposed_rms(mul: ir.Node) -> Norm | None:
    for position in (0, 1):
        gamma = mul.inputs[position]
        if gamma is None or not is_vector(gamma) or gamma.shape is None:
            continue
        match = normalized(mul.inputs[1 - position])
        if match and not match.centred:
            return _rms((mul, position), int(gamma.shape.numpy()[0]))
    return None


def affine_step(value: ir.Value, op_type: str) -> tuple[ir.Node, ir.Value] | None:
    """Return the only consumer of ``value`` and its constant of shape [C], if it is an ``op_type`` of these two."""
    use = sole_use(value)
    if use is None:
        return None
    node, position = use
    other = node.inputs[1 - position] if node.op_type == op_type and node.domain == "" else None
    if other is None or not is_vector(other) or not value.shape or other.shape is None:
        return None
    return (node, other) if value.shape[-1] == other.shape[0] else None
