"""Normalizations, fused or spelled out, seen one way.

    LayerNorm(x) = (x - mean x) / sqrt(var x + ε) · γ + β          RMSNorm(x) = x / sqrt(mean x² + ε) · γ

A decomposed LayerNorm becomes a LayerNormalization node. A decomposed RMSNorm stays as it is: no opset below
23 has the op, and its gain is the constant of its last Mul, which is all that the analysis needs.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import onnx_ir as ir
from onnx_ir.convenience import replace_nodes_and_values

from .constants import constant, is_constant
from .decomposed import Normalized, normalized

Slot = tuple[ir.Node, int]
"""An input of a node: the node and the position."""


@dataclass(frozen=True)
class Norm:
    """A normalization, and where its parameters are plugged in.

    ``scale`` is the input that takes γ, of shape [C]. ``shift`` is the input that takes β, which may be
    empty, or None when the op has no place for one. ``axis`` is the channels' axis in the output.
    """

    kind: Literal["LayerNorm", "RMSNorm", "BatchNorm"]
    output: ir.Value
    scale: Slot
    shift: Slot | None
    channels: int
    axis: int = -1


_FUSED: dict[str, tuple[Literal["LayerNorm", "RMSNorm"], int | None]] = {
    "LayerNormalization": ("LayerNorm", 2),
    "RMSNormalization": ("RMSNorm", None),
    "SimplifiedLayerNormalization": ("RMSNorm", None),
}


def find_norms(graph: ir.Graph) -> Iterator[Norm | tuple[ir.Node, str]]:
    """Every norm of ``graph`` in order; one whose gain cannot be rewritten comes as (node, reason)."""
    for node in graph:
        if node.domain != "":
            continue
        if node.op_type in _FUSED:
            yield _fused(node)
        elif node.op_type == "Mul" and (norm := _decomposed_rms(node)):
            yield norm


def _fused(node: ir.Node) -> Norm | tuple[ir.Node, str]:
    kind, shift = _FUSED[node.op_type]
    gamma = node.inputs[1] if len(node.inputs) > 1 else None
    if not is_constant(gamma) or gamma is None or gamma.shape is None:
        return node, "its scale is computed at run time"
    if len(gamma.shape) != 1:
        return node, f"it normalizes over {len(gamma.shape)} axes, not over the channels alone"
    beta = node.inputs[2] if shift is not None and len(node.inputs) > 2 else None
    if beta is not None and not is_constant(beta):
        return node, "its bias is computed at run time"
    if shift is None:
        return _rms((node, 1), int(gamma.shape.numpy()[0]))
    return Norm(kind, node.outputs[0], (node, 1), (node, shift), int(gamma.shape.numpy()[0]))


def _rms(scale: Slot, channels: int) -> Norm:
    """An RMSNorm with its gain at ``scale``; a constant added to all that it makes is its bias."""
    steps: list[ir.Node] = []
    output, beta = _affine(scale[0].outputs[0], "Add", steps)
    shift = (steps[0], steps[0].inputs.index(beta)) if beta is not None else None
    return Norm("RMSNorm", output, scale, shift, channels)


def _decomposed_rms(mul: ir.Node) -> Norm | None:
    for position in (0, 1):
        gamma = mul.inputs[position]
        if gamma is None or not is_constant(gamma) or gamma.shape is None or len(gamma.shape) != 1:
            continue
        match = normalized(mul.inputs[1 - position])
        if match and not match.centred:
            return _rms((mul, position), int(gamma.shape.numpy()[0]))
    return None


class FuseLayerNorm(ir.passes.InPlacePass):
    """A LayerNorm spelled as ReduceMean, Sub, Pow, Sqrt, Div, Mul and Add becomes one LayerNormalization."""

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        modified = False
        for graph in model.graphs():
            for node in graph:
                match = normalized(node.outputs[0]) if node.op_type in ("Div", "Mul") else None
                if match and match.centred and match.x.dtype == node.outputs[0].dtype:
                    modified |= _fuse(graph, node, match)
        return ir.passes.PassResult(model, modified)


def _fuse(graph: ir.Graph, last: ir.Node, match: Normalized) -> bool:
    width = match.x.shape[-1] if match.x.shape else None
    out, nodes = last.outputs[0], [last]
    out, gamma = _affine(out, "Mul", nodes)
    out, beta = _affine(out, "Add", nodes) if gamma is not None else (out, None)
    if gamma is None:
        if not isinstance(width, int) or match.x.dtype is None:
            return False
        gamma = constant(graph, np.ones(width, match.x.dtype.numpy()), f"{out.name}.scale")
    inputs = [match.x, gamma] if beta is None else [match.x, gamma, beta]
    fused = ir.node("LayerNormalization", inputs, {"axis": -1, "epsilon": match.epsilon})
    fused.name = last.name
    replace_nodes_and_values(graph, nodes[-1], nodes[::-1], [fused], [out], fused.outputs)
    return True


def _affine(value: ir.Value, op_type: str, nodes: list[ir.Node]) -> tuple[ir.Value, ir.Value | None]:
    """Step over the only reader of ``value`` when it is ``op_type`` with a constant of shape [C]."""
    uses = value.uses()
    if len(uses) != 1 or value.is_graph_output():
        return value, None
    (node, position), *_ = uses
    if node.op_type != op_type:
        return value, None
    other = node.inputs[1 - position]
    if other is None or not is_constant(other) or other.shape is None or len(other.shape) != 1:
        return value, None
    if not value.shape or value.shape[-1] != other.shape[0]:
        return value, None
    nodes.append(node)
    return node.outputs[0], other
