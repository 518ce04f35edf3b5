"""Norms in a quantized graph, fused or written out: γ · (x - mean x) / sqrt(mean d² + ε) + β."""

from collections.abc import Iterator

import onnx_ir as ir

from .qdq_graph import View
from .traverse import PAIR, consumers, maker

_SCALE_AND_BIAS = {1: "scale", 2: "bias"}

PARAMETERS = {
    "LayerNormalization": _SCALE_AND_BIAS,
    "RMSNormalization": _SCALE_AND_BIAS,
    "SimplifiedLayerNormalization": _SCALE_AND_BIAS,
    "SkipLayerNormalization": {2: "scale", 3: "bias", 4: "bias"},
    "SkipSimplifiedLayerNormalization": {2: "scale", 3: "bias"},
    "GroupNormalization": _SCALE_AND_BIAS,
    "InstanceNormalization": _SCALE_AND_BIAS,
    "BatchNormalization": _SCALE_AND_BIAS | {3: "mean", 4: "variance"},
}
"""The parameters of each norm that is one node, by their position among its inputs."""


def written_out(view: View) -> dict[ir.Node, str]:
    """The nodes of every norm that is written out, whatever Q/DQ is between them, and what constant each takes."""
    found: dict[ir.Node, str] = {}
    for node in view.model.graph.all_nodes():
        if node.op_type in ("Div", "Reciprocal") and (before := _variance(node, view)):
            found |= dict.fromkeys([node, *before, *_numerators(node, view)], "constant")
            found |= dict(_affine(node, view))
    return found


def _variance(division: ir.Node, view: View) -> list[ir.Node]:
    """The nodes between x and sqrt(mean d² + ε), which ``division`` divides by; none when it does not."""
    root = maker(division.inputs[-1])
    if root is None or root.op_type not in ("Sqrt", "Pow"):
        return []
    shifted = maker(root.inputs[0])
    if shifted is None or shifted.op_type != "Add" or not any(map(view.known, shifted.inputs)):
        return []
    mean = next((node for node in map(maker, shifted.inputs) if node and node.op_type == "ReduceMean"), None)
    square = maker(mean.inputs[0]) if mean is not None else None
    if mean is None or square is None or square.op_type not in ("Pow", "Mul"):
        return []
    return [root, shifted, mean, square, *_centre(square)]


def _centre(square: ir.Node) -> list[ir.Node]:
    """x - mean x, where what is squared is that."""
    centre = maker(square.inputs[0])
    mean = maker(centre.inputs[1]) if centre is not None and centre.op_type == "Sub" else None
    return [centre, mean] if centre is not None and mean is not None and mean.op_type == "ReduceMean" else []


def _numerators(division: ir.Node, view: View) -> Iterator[ir.Node]:
    """The Mul that follows 1 / sqrt(…), unless its other factor is γ."""
    if division.op_type == "Reciprocal" or view.known(division.inputs[0]):
        for consumer in consumers(division.outputs[0], PAIR):
            if consumer is not None and consumer.op_type == "Mul" and not any(map(view.known, consumer.inputs)):
                yield consumer


def _affine(division: ir.Node, view: View) -> Iterator[tuple[ir.Node, str]]:
    """The Mul by γ and the Add of β behind the division, or behind the Mul that stands for it."""
    ends = list(_numerators(division, view)) or [division]
    for node in [consumer for end in ends for consumer in consumers(end.outputs[0], PAIR)]:
        role = {"Mul": "scale", "Add": "bias"}.get(node.op_type) if node is not None else None
        if node is None or role is None or not any(map(view.known, node.inputs)):
            continue
        yield node, role
        if role == "scale":
            behind = (consumer for consumer in consumers(node.outputs[0], PAIR) if consumer is not None)
            yield from ((add, "bias") for add in behind if add.op_type == "Add" and any(map(view.known, add.inputs)))
