"""Fixes that remove Q/DQ pairs: x instead of DequantizeLinear(QuantizeLinear(x)), without the rounding error.

A quantizer also clips what is beyond its range, and one that is not symmetric may stand for a Relu or Clip that a tool
removed because of that. There the range stays, as a Clip; but not for constants, nor within a norm, where there was
nothing to remove.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import onnx_ir as ir
from onnx_ir.convenience import replace_nodes_and_values

from ...ir.constants import constant
from ...ir.names import fresh_name
from ...ir.ops import CONVOLUTIONS
from ...ir.quantizer import Quantizer
from ..rules.attention import attentions
from ..rules.norms import decomposed_norms
from ..rules.qdq_graph import QdqGraph
from ..rules.quantizers import same_parameters
from ..rules.traverse import consumers, producer
from .dequantize import in_float, is_weight
from .node_quantizer import is_symmetric, node_quantizer, real_range

_CLIP_TAKES_INPUTS = 11
"""The opset since which Clip has its bounds as inputs."""


class _Change(NamedTuple):
    """A change of a DQ's ``uses``, and of the graph output where it is one, to take ``value`` instead."""

    dequantize: ir.Node
    uses: list[tuple[ir.Node, int]]
    output: bool
    value: ir.Value


def pairs(graph: QdqGraph, nodes: Sequence[ir.Node | None]) -> Iterator[ir.Node]:
    """Remove the pairs that the Q or DQ ``nodes`` are half of."""
    norms = decomposed_norms(graph)
    for node in nodes:
        if node is not None:
            ends = [node] if node.op_type == "DequantizeLinear" else [use.node for use in node.outputs[0].uses()]
            if _make([_change(graph, end, norms) for end in ends]):
                yield node


def layers(graph: QdqGraph, nodes: Sequence[ir.Node | None]) -> Iterator[ir.Node]:
    """Give the linear layers ``nodes`` all their operands in float."""
    norms = decomposed_norms(graph)
    for node in nodes:
        if node is not None and _make([_change(graph, end, norms, {node}) for end in _operands(graph, node)]):
            yield node


def kernels(graph: QdqGraph, nodes: Sequence[ir.Node | None]) -> Iterator[ir.Node]:
    """Give those of the layers ``nodes`` that convolve all their operands in float."""
    yield from layers(graph, [node for node in nodes if node is not None and node.op_type in CONVOLUTIONS])


def attention(graph: QdqGraph, nodes: Sequence[ir.Node | None]) -> Iterator[ir.Node]:
    """Give both products of the attentions, of which ``nodes`` are the second ones, their operands in float."""
    norms = decomposed_norms(graph)
    for block in attentions(graph):
        products = [block.scores.node, block.mixture.node]
        ends = [end for node in products for end in _operands(graph, node)]
        if products[1] in nodes and _make([_change(graph, end, norms, set(products)) for end in ends]):
            yield products[1]


def _operands(graph: QdqGraph, node: ir.Node) -> list[ir.Node]:
    """List the DQs that compute the operands and the bias of the layer ``node``."""
    bias = graph.producer(node.inputs[2]) if len(node.inputs) > 2 else None
    return list(dict.fromkeys(qdq.node for qdq in [*graph.layers[node].dequantizers, bias] if qdq is not None))


def _change(
    graph: QdqGraph, dequantize: ir.Node, norms: dict[ir.Node, str], only: set[ir.Node] | None = None
) -> _Change | None:
    """Plan to give all consumers of ``dequantize``, or ``only`` these, the float value; None when there is none."""
    qdq, output = graph.nodes.get(dequantize), dequantize.outputs[0]
    takes_all = only is None or only.issuperset(consumers(output))
    uses = [(node, position) for node, position in output.uses() if takes_all or (only and node in only)]
    if qdq is None or qdq.quantizes or not (uses or output.is_graph_output()):
        return None
    if only is None and qdq.constant and is_weight(output, graph):
        return None
    value = (in_float(dequantize) if qdq.constant else None) or _input(graph, dequantize, norms)
    return None if value is None else _Change(dequantize, uses, takes_all and output.is_graph_output(), value)


def _make(changes: list[_Change | None]) -> bool:
    """Make all of ``changes``, or none when one of them cannot be made."""
    possible = [change for change in changes if change is not None]
    if not possible or len(possible) < len(changes):
        return False
    for dequantize, uses, output, value in possible:
        for node, position in uses:
            node.replace_input_with(position, value)
        if output:
            _replace_output(dequantize, value)
    return True


def _input(graph: QdqGraph, dequantize: ir.Node, norms: dict[ir.Node, str]) -> ir.Value | None:
    """Return the input of the Q before ``dequantize``, clipped to its range; None when the two are no pair."""
    quantize, output = graph.producer(dequantize.inputs[0]), dequantize.outputs[0]
    value = quantize.node.inputs[0] if quantize is not None and quantize.quantizes else None
    quantizer = node_quantizer(quantize.node) if quantize is not None else None
    if quantize is None or value is None or quantizer is None:
        return None
    if not same_parameters(quantize, graph.nodes[dequantize]) or value.dtype is None or value.dtype != output.dtype:
        return None
    within_norm = producer(value) in norms and all(consumer in norms for consumer in consumers(output))
    if quantize.constant or within_norm or is_symmetric(quantizer):
        return value
    return _clipped(graph, quantize.node, quantizer)


def _clipped(graph: QdqGraph, quantize: ir.Node, quantizer: Quantizer) -> ir.Value | None:
    """Insert a Clip of the input of ``quantize`` to the range of its integers, unless there is one."""
    value, owner, name = quantize.inputs[0], quantize.graph, f"{quantize.outputs[0].name}.range"
    if value is None or quantizer.scale.size > 1 or graph.opset < _CLIP_TAKES_INPUTS:
        return None
    for use in value.uses():
        if use.node.name == name:
            return use.node.outputs[0]
    assert isinstance(owner, ir.Graph)
    assert value.dtype is not None
    bounds = real_range(quantizer).astype(value.dtype.numpy())
    clip = ir.node("Clip", [value, *(constant(owner, bound, name) for bound in bounds)], name=name)
    output = clip.outputs[0]
    output.name, output.shape, output.type = fresh_name(owner, f"{name}.out"), value.shape, value.type
    owner.insert_before(quantize, clip)
    return output


def _replace_output(dequantize: ir.Node, value: ir.Value) -> None:
    """Make ``value`` the graph output, under the same name."""
    assert isinstance(dequantize.graph, ir.Graph)
    identity = ir.node("Identity", [value])
    old, new = dequantize.outputs, identity.outputs
    replace_nodes_and_values(dequantize.graph, dequantize, [dequantize], [identity], old, new)
