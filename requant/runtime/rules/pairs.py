"""Searches for Q/DQ pairs on activations that no consumer gains from."""

from collections.abc import Iterator

import onnx_ir as ir

from ...ir.ops import CLIPPING, COMMUTATIVE, CONVOLUTIONS, RECTIFIERS, SIGMOIDS
from .norms import decomposed_norms
from .qdq_graph import QdqGraph
from .qdq_nodes import QdqNode
from .rule import Find, Violation
from .traverse import MOVERS, PAIR, consumers, producer

_FUSED_AFTER_CONV = MOVERS | PAIR | CLIPPING | (RECTIFIERS - {"PRelu"}) | SIGMOIDS | {"BatchNormalization"}
"""Ops that hand on the output of the kernel of a Conv."""


def no_integer_kernel(op_types: frozenset[str], *, behind: frozenset[str]) -> Find:
    """Return a search for pairs that only ``op_types`` and the nodes of norms consume.

    Pairs straight ``behind`` these linear layers are left out: whether they pay is for the layer to say.
    """

    def find(graph: QdqGraph) -> Iterator[Violation]:
        norms = decomposed_norms(graph)
        for quantize, ends in _pairs(graph, behind):
            if all(_in_float(end, op_types, norms, graph) for end in ends):
                yield quantize.node, ", ".join(sorted({end.op_type for end in ends}))

    return find


def quantized_residual(op_types: frozenset[str], *, behind: frozenset[str]) -> Find:
    """Return a search for pairs that only residual Adds consume, beside what `no_integer_kernel` allows."""

    def find(graph: QdqGraph) -> Iterator[Violation]:
        norms = decomposed_norms(graph)
        for quantize, ends in _pairs(graph, behind):
            branches = [end for end in ends if not _is_residual(end, graph)]
            if len(branches) < len(ends) and all(_in_float(end, op_types, norms, graph) for end in branches):
                yield quantize.node, ", ".join(sorted({end.op_type for end in ends}))

    return find


def several_scales(graph: QdqGraph) -> Iterator[Violation]:
    """Find values that linear layers read with different scales."""
    quantizers: dict[ir.Value | None, list[QdqNode]] = {}
    for qdq in graph.nodes.values():
        if qdq.quantizes and not qdq.constant and any(end in graph.layers for end in _ends(qdq)):
            quantizers.setdefault(qdq.node.inputs[0], []).append(qdq)
    for group in quantizers.values():
        scales = {scale.tobytes() for qdq in group if (scale := qdq.scale) is not None}
        if len(scales) > 1:
            yield group[0].node, f"{len(scales)} scales"


def _pairs(graph: QdqGraph, behind: frozenset[str]) -> Iterator[tuple[QdqNode, list[ir.Node]]]:
    """Iterate over the DQs of activations with their consumers, unless a graph output is among these."""
    for node, qdq in graph.nodes.items():
        if qdq.quantizes or qdq.constant:
            continue
        source = producer(node.inputs[0], PAIR | CLIPPING)
        ends = list(consumers(node.outputs[0]))
        nodes = [end for end in ends if end is not None]
        after_layer = source is not None and source in graph.layers and source.op_type in behind
        if nodes and len(nodes) == len(ends) and not after_layer:
            yield qdq, nodes


def _ends(qdq: QdqNode) -> list[ir.Node]:
    return [end for end in consumers(qdq.node.outputs[0], MOVERS | PAIR) if end is not None]


def _in_float(node: ir.Node, op_types: frozenset[str], norms: dict[ir.Node, str], graph: QdqGraph) -> bool:
    joins = node.op_type in COMMUTATIVE and not any(map(graph.is_constant, node.inputs))
    in_float = not joins or (node.op_type == "Mul" and not _joins_conv(node))
    return node in norms or (node.op_type in op_types and in_float)


def _is_residual(node: ir.Node, graph: QdqGraph) -> bool:
    return node.op_type == "Add" and not any(map(graph.is_constant, node.inputs)) and not _joins_conv(node)


def _joins_conv(node: ir.Node) -> bool:
    """Tell whether ``node`` works on the output of a Conv, so that one kernel may do both."""
    sources = (producer(value, _FUSED_AFTER_CONV) for value in node.inputs)
    return any(source is not None and source.op_type in CONVOLUTIONS for source in sources)
