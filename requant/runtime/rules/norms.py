"""Norms in a quantized graph, one node or decomposed: γ · (x - mean x) / sqrt(mean d² + ε) + β."""

from collections.abc import Iterator

import onnx_ir as ir

from ...ir.ops import DIVISIONS, LAYER_NORMS, POWERS, SQUARES
from .qdq_graph import QdqGraph
from .traverse import PAIR, consumers, producer

_SCALE_AND_BIAS = {1: "scale", 2: "bias"}

PARAMETERS: dict[str, dict[int, str]] = {
    **dict.fromkeys(sorted(LAYER_NORMS), _SCALE_AND_BIAS),
    "SkipLayerNormalization": {2: "scale", 3: "bias", 4: "bias"},
    "SkipSimplifiedLayerNormalization": {2: "scale", 3: "bias"},
    "GroupNormalization": _SCALE_AND_BIAS,
    "InstanceNormalization": _SCALE_AND_BIAS,
    "BatchNormalization": _SCALE_AND_BIAS | {3: "mean", 4: "variance"},
}
"""The parameters of each norm that is one node, by their position among its inputs."""

NORMS = frozenset(PARAMETERS) - {"BatchNormalization"}
"""Norms that reduce over their input, so that there is no integer kernel for them."""

_ROOTS = POWERS - {"Reciprocal"}
"""Ops that exporters write the root of a variance with."""


def decomposed_norms(graph: QdqGraph) -> dict[ir.Node, str]:
    """Map the nodes of all decomposed norms, whatever Q/DQ is between them, to the role of the constant they take."""
    roles: dict[ir.Node, str] = {}
    for node in graph.model.graph.all_nodes():
        if node.op_type in DIVISIONS and (variance := _variance(node, graph)):
            roles |= dict.fromkeys([node, *variance, *_numerators(node, graph)], "constant")
            roles |= dict(_affine(node, graph))
    return roles


def _variance(division: ir.Node, graph: QdqGraph) -> list[ir.Node]:
    """Return the nodes from x to the sqrt(mean d² + ε) that ``division`` divides by; none when it does not."""
    root = producer(division.inputs[-1])
    if root is None or root.op_type not in _ROOTS:
        return []
    add = producer(root.inputs[0])
    if add is None or add.op_type != "Add" or not any(map(graph.is_constant, add.inputs)):
        return []
    mean = next((node for node in map(producer, add.inputs) if node and node.op_type == "ReduceMean"), None)
    square = producer(mean.inputs[0]) if mean is not None else None
    if mean is None or square is None or square.op_type not in SQUARES:
        return []
    return [root, add, mean, square, *_centre(square)]


def _centre(square: ir.Node) -> list[ir.Node]:
    """Return the nodes of x - mean x, where ``square`` is of that."""
    centre = producer(square.inputs[0])
    mean = producer(centre.inputs[1]) if centre is not None and centre.op_type == "Sub" else None
    return [centre, mean] if centre is not None and mean is not None and mean.op_type == "ReduceMean" else []


def _numerators(division: ir.Node, graph: QdqGraph) -> Iterator[ir.Node]:
    """Iterate over the Muls that follow 1 / sqrt(…), unless the other factor is γ."""
    if division.op_type == "Reciprocal" or graph.is_constant(division.inputs[0]):
        for consumer in consumers(division.outputs[0], PAIR):
            if consumer is not None and consumer.op_type == "Mul" and not any(map(graph.is_constant, consumer.inputs)):
                yield consumer


def _affine(division: ir.Node, graph: QdqGraph) -> Iterator[tuple[ir.Node, str]]:
    """Iterate over the Mul by γ and the Add of β behind the division, or behind the Mul that stands for it."""
    ends = list(_numerators(division, graph)) or [division]
    for node in [consumer for end in ends for consumer in consumers(end.outputs[0], PAIR)]:
        role = {"Mul": "scale", "Add": "bias"}.get(node.op_type) if node is not None else None
        if node is None or role is None or not any(map(graph.is_constant, node.inputs)):
            continue
        yield node, role
        if role == "scale":
            adds = (end for end in consumers(node.outputs[0], PAIR) if end is not None and end.op_type == "Add")
            yield from ((add, "bias") for add in adds if any(map(graph.is_constant, add.inputs)))
