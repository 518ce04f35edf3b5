"""Where a Conv can write codes: into what its consumers make codes of anyway, or into a sum or an average.

    z = Conv(x)        y = z, Relu(z) or Clip(z)        codes of y, on the grid of whoever reads them

Some engines have an integer Conv only if its output is rounded to codes. That costs nothing where y is read by layers
in codes, or where ops that only pick and move elements lie between. It costs one more rounding where y is summed,
averaged or multiplied in float. Where anything else reads y, it is not done.
"""

import math
from collections.abc import Iterable
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from .constants import array, is_constant
from .linear import Linear

SIZES = frozenset({"Shape", "Size"})
"""Ops that do not look at elements at all."""

_PICKS = frozenset({"Concat", "DepthToSpace", "GlobalMaxPool", "MaxPool"})
MOVES = _PICKS | {"Flatten", "Reshape", "Slice", "SpaceToDepth", "Split", "Squeeze", "Transpose", "Unsqueeze"}
"""Ops whose output has no other elements than the input, so that they may as well be applied to codes."""

_SUMS = frozenset(
    {"Add", "AveragePool", "BatchNormalization", "Conv", "ConvTranspose", "Gemm", "GlobalAveragePool", "MatMul"}
    | {"ReduceMean", "Resize"}
)
"""Ops that can do with rounded data: noise averages out in them, or is not made louder."""


@dataclass(frozen=True)
class ConvOutput:
    """``value`` is what is rounded: the output of ``conv``, or what a Relu or a Clip makes of it; ``grid`` is the value
    whose quantizer gives the codes.
    """

    conv: Linear
    value: ir.Value
    grid: ir.Value

    @property
    def bounds(self) -> tuple[float, float]:
        """What lies between the Conv and ``value`` lets through: codes within need nothing in between."""
        node = self.value.producer()
        return _bounds(node) if node is not None and self.value is not self.conv.output else (-math.inf, math.inf)


def activated(conv: Linear) -> ir.Value:
    """The output of ``conv``, or that of the Relu or Clip that alone reads it: rounding to codes can do both."""
    consumers = [use.node for use in conv.output.uses() if not _is(use.node, SIZES)]
    if len(consumers) != 1 or conv.output.is_graph_output() or consumers[0].graph is not conv.node.graph:
        return conv.output
    (node,) = consumers
    clips = _is(node, {"Relu", "Clip"}) and node.inputs[0] is conv.output
    return node.outputs[0] if clips and all(map(is_constant, filter(None, node.inputs[1:]))) else conv.output


def conv_outputs(layers: Iterable[Linear]) -> dict[ir.Node, ConvOutput | str]:
    """Of each Conv among the ``layers`` that are in codes: where it writes codes, or why it cannot."""
    chosen = list(layers)
    coded = {linear.data for linear in chosen}
    return {linear.node: _conv_output(linear, coded) for linear in chosen if linear.node.op_type == "Conv"}


def _conv_output(conv: Linear, coded: set[ir.Value]) -> ConvOutput | str:
    value = activated(conv)
    if value.is_graph_output():
        return "its output is an output of the model"
    landings = _landings(value, coded)
    landing = next(iter(landings)) if len(landings) == 1 else None
    if landing is not None and landing is not value:
        return ConvOutput(conv, value, landing)
    stranger = _stranger(value)
    if stranger is not None:
        return f"its kernel would round its output, and {stranger.op_type} is to read what is not rounded"
    return ConvOutput(conv, value, value)


def _landings(value: ir.Value, coded: set[ir.Value]) -> set[ir.Value | None]:
    """The values in codes that ``value`` is moved into, and None if it goes anywhere else too."""
    landings, waiting, met = set[ir.Value | None](), [value], {value}
    while waiting:
        moved = waiting.pop()
        consumers = [use.node for use in moved.uses()]
        moves = all((_is(node, MOVES) or _pads_zeros(node)) and node.graph is value.graph for node in consumers)
        if moved in coded:
            landings.add(moved)
        elif not consumers or moved.is_graph_output() or not moves:
            return {None}
        else:
            waiting += _new([output for node in consumers for output in node.outputs], met)
    return landings


def _stranger(value: ir.Value) -> ir.Node | None:
    """A node that cannot do with what is rounded of ``value``, or with what is picked of that or clipped."""
    waiting, met = [value], {value}
    while waiting:
        for node, position in waiting.pop().uses():
            if node.graph is not value.graph:
                return node
            if _is(node, _PICKS | {"Clip", "Relu"}) or _pads_zeros(node):
                if any(output.is_graph_output() for output in node.outputs):
                    return node
                waiting += _new(node.outputs, met)
            elif not _takes_rounded(node, position):
                return node
    return None


def _new(values: Iterable[ir.Value], met: set[ir.Value]) -> list[ir.Value]:
    """Those of ``values`` that were not met yet; they are from now on."""
    fresh = [value for value in dict.fromkeys(values) if value not in met]
    met.update(fresh)
    return fresh


def _takes_rounded(node: ir.Node, position: int) -> bool:
    """Whether ``node`` can do with rounded data at that input.

    A position that is added to the embedding of a patch is no residual: what a transformer begins with stays as it is.
    """
    if node.op_type == "Add":
        return _is(node, _SUMS) and not any(map(is_constant, node.inputs))
    return _is(node, SIZES | _SUMS) and position == 0


def _pads_zeros(node: ir.Node) -> bool:
    """Whether it is a Pad with zeros, or with what is there: elements of every grid."""
    fill = node.inputs[2] if len(node.inputs) > 2 else None
    known = array(fill)
    return _is(node, {"Pad"}) and (fill is None or (known is not None and not known.any()))


def _is(node: ir.Node, op_types: AbstractSet[str]) -> bool:
    return node.domain == "" and node.op_type in op_types


def _bounds(node: ir.Node) -> tuple[float, float]:
    """Of a Relu or a Clip."""
    if node.op_type == "Relu":
        return 0.0, math.inf
    low, high = (array(value) for value in (*node.inputs[1:], None, None)[:2])
    return (
        -math.inf if low is None else float(low.astype(np.float64)),
        math.inf if high is None else float(high.astype(np.float64)),
    )
