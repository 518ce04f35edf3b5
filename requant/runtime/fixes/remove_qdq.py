"""x instead of DequantizeLinear(QuantizeLinear(x)): the numbers change by what the rounding had cost.

A quantizer also cuts off what is beyond its range, and quantizers that are not symmetric may stand for a Relu or
Clip that a tool took out because of that. There the range stays, as a Clip; but not for constants, nor within a norm,
where there is nothing to take out.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import onnx_ir as ir
from onnx_ir.convenience import replace_nodes_and_values

from ...ir.constants import constant
from ...ir.names import fresh_name
from ..rules.attention import attentions
from ..rules.norms import written_out
from ..rules.qdq_graph import View
from ..rules.quantizers import same
from ..rules.traverse import consumers, maker
from .dequantize import in_float, is_weight
from .grid import Grid, grid

_CLIP_TAKES_INPUTS = 11
"""The opset since which Clip has its bounds as inputs."""

_CONVOLUTIONS = ("Conv", "ConvTranspose")


class _Change(NamedTuple):
    """``uses`` of what ``dequantize`` gives, and the output of the graph where it is one, take ``value`` instead."""

    dequantize: ir.Node
    uses: list[tuple[ir.Node, int]]
    output: bool
    value: ir.Value


def pairs(view: View, nodes: Sequence[ir.Node | None]) -> Iterator[ir.Node]:
    """Remove the pairs that the Q or DQ ``nodes`` are half of."""
    norms = written_out(view)
    for node in nodes:
        if node is not None:
            ends = [node] if node.op_type == "DequantizeLinear" else [use.node for use in node.outputs[0].uses()]
            if _make([_change(view, end, norms) for end in ends]):
                yield node


def layers(view: View, nodes: Sequence[ir.Node | None]) -> Iterator[ir.Node]:
    """Let the linear layers ``nodes`` read all their operands in float."""
    norms = written_out(view)
    for node in nodes:
        if node is not None and _make([_change(view, end, norms, {node}) for end in _operands(view, node)]):
            yield node


def kernels(view: View, nodes: Sequence[ir.Node | None]) -> Iterator[ir.Node]:
    """Let those of the layers ``nodes`` that convolve read all their operands in float."""
    yield from layers(view, [node for node in nodes if node is not None and node.op_type in _CONVOLUTIONS])


def attention(view: View, nodes: Sequence[ir.Node | None]) -> Iterator[ir.Node]:
    """Let both products of the attentions, of which ``nodes`` are the second ones, read their operands in float."""
    norms = written_out(view)
    for found in attentions(view):
        both = [found.scores.node, found.mixture.node]
        ends = [end for node in both for end in _operands(view, node)]
        if both[1] in nodes and _make([_change(view, end, norms, set(both)) for end in ends]):
            yield both[1]


def _operands(view: View, node: ir.Node) -> list[ir.Node]:
    """The DQs that make the operands and the bias of the layer ``node``."""
    bias = view.step_of(node.inputs[2]) if len(node.inputs) > 2 else None
    return list(dict.fromkeys(step.node for step in [*view.layers[node].steps, bias] if step is not None))


def _change(
    view: View, dequantize: ir.Node, norms: dict[ir.Node, str], only: set[ir.Node] | None = None
) -> _Change | None:
    """Let all who read ``dequantize``, or ``only`` these, read the float value; None when there is none."""
    step, out = view.steps.get(dequantize), dequantize.outputs[0]
    whole = only is None or only.issuperset(consumers(out))
    uses = [(node, position) for node, position in out.uses() if whole or (only and node in only)]
    if step is None or step.quantizes or not (uses or out.is_graph_output()):
        return None
    if only is None and step.fixed and is_weight(out, view):
        return None
    value = (in_float(dequantize) if step.fixed else None) or _before(view, dequantize, norms)
    return None if value is None else _Change(dequantize, uses, whole and out.is_graph_output(), value)


def _make(changes: list[_Change | None]) -> bool:
    """Make all of ``changes``, or none when one of them cannot be made."""
    possible = [change for change in changes if change is not None]
    if not possible or len(possible) < len(changes):
        return False
    for dequantize, uses, output, value in possible:
        for node, position in uses:
            node.replace_input_with(position, value)
        if output:
            _output(dequantize, value)
    return True


def _before(view: View, dequantize: ir.Node, norms: dict[ir.Node, str]) -> ir.Value | None:
    """What the Q before ``dequantize`` reads, in its range; None when the two do not belong together."""
    codes, out = view.step_of(dequantize.inputs[0]), dequantize.outputs[0]
    value = codes.node.inputs[0] if codes is not None and codes.quantizes else None
    own = grid(codes.node) if codes is not None else None
    if codes is None or value is None or own is None or not same(codes, view.steps[dequantize]):
        return None
    if value.dtype is None or value.dtype != out.dtype:
        return None
    inside = maker(value) in norms and all(consumer in norms for consumer in consumers(out))
    return value if codes.fixed or inside or own.symmetric else _in_range(view, codes.node, own)


def _in_range(view: View, quantize: ir.Node, own: Grid) -> ir.Value | None:
    """A Clip of what ``quantize`` reads to what its codes can say."""
    value, graph, name = quantize.inputs[0], quantize.graph, f"{quantize.outputs[0].name}.range"
    if value is None or own.scale.size > 1 or view.model.opset_imports.get("", 0) < _CLIP_TAKES_INPUTS:
        return None
    for use in value.uses():
        if use.node.name == name:
            return use.node.outputs[0]
    assert isinstance(graph, ir.Graph)
    assert value.dtype is not None
    ends = own.ends.astype(value.dtype.numpy())
    clip = ir.node("Clip", [value, *(constant(graph, end, name) for end in ends)], name=name)
    result = clip.outputs[0]
    result.name, result.shape, result.type = fresh_name(graph, f"{name}.out"), value.shape, value.type
    graph.insert_before(quantize, clip)
    return clip.outputs[0]


def _output(dequantize: ir.Node, value: ir.Value) -> None:
    """Let the graph output ``value`` under the name that it knows."""
    assert isinstance(dequantize.graph, ir.Graph)
    identity = ir.node("Identity", [value])
    old, new = dequantize.outputs, identity.outputs
    replace_nodes_and_values(dequantize.graph, dequantize, [dequantize], [identity], old, new)
