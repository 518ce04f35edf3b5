"""The values that an integer Conv can quantize its output as: what its consumers quantize anyway, or a sum or average.

    z = Conv(x)        y = z, Relu(z) or Clip(z)        y in int8, with the scale of the layers that read it

Some engines have an integer Conv only if its output is rounded to int8. That costs nothing where y is read by quantized
layers, or where ops that only pick and move elements lie between. It costs one more rounding where y is summed,
averaged or multiplied in float. Where anything else reads y, it is not done.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from .constants import array, is_constant
from .linear import Linear
from .ops import ADDITIVE, AVERAGING, CLIPPING, COMMUTING, JOINING, LINEAR, MAX_POOLING, SIZES, is_op
from .refusal import Refusal
from .traverse import consumers, reachable

__all__ = ["SIZES", "ConvOutput", "activated", "conv_outputs"]

_PICKS = MAX_POOLING | JOINING | {"DepthToSpace"}
"""Ops whose output holds rounded elements of the input, so that its consumers count as consumers of the input."""

_SUMS = LINEAR | (AVERAGING - {"Upsample"}) | (ADDITIVE - {"Sub"}) | {"BatchNormalization"}
"""Ops that tolerate rounded data: noise averages out in them, or is not made louder."""


@dataclass(frozen=True)
class ConvOutput:
    """The quantized output of an integer Conv.

    ``value`` is what is rounded: the output of ``conv``, or of a Relu or a Clip after it. ``quantized_as`` is the value
    with whose quantizer it is rounded.
    """

    conv: Linear
    value: ir.Value
    quantized_as: ir.Value

    @property
    def bounds(self) -> tuple[float, float]:
        """The bounds of the op between the Conv and ``value``; integers within them need none."""
        node = self.value.producer()
        return _bounds(node) if node is not None and self.value is not self.conv.output else (-math.inf, math.inf)


def activated(conv: Linear) -> ir.Value:
    """Return the output of ``conv``, or that of the Relu or Clip that alone reads it: quantization can do both."""
    nodes = [use.node for use in conv.output.uses() if not is_op(use.node, SIZES)]
    if len(nodes) != 1 or conv.output.is_graph_output() or nodes[0].graph is not conv.node.graph:
        return conv.output
    (node,) = nodes
    clips = is_op(node, CLIPPING) and node.inputs[0] is conv.output
    return node.outputs[0] if clips and all(map(is_constant, filter(None, node.inputs[1:]))) else conv.output


def conv_outputs(layers: Iterable[Linear]) -> dict[ir.Node, ConvOutput | Refusal]:
    """Find the quantized output of each Conv among the quantized ``layers``, or say why it has none."""
    linears = list(layers)
    integer_values = {linear.data for linear in linears}
    return {linear.node: _conv_output(linear, integer_values) for linear in linears if linear.node.op_type == "Conv"}


def _conv_output(conv: Linear, integer_values: set[ir.Value]) -> ConvOutput | Refusal:
    value = activated(conv)
    if value.is_graph_output():
        return Refusal.at(conv.node, "its output is an output of the model")
    destinations = _destinations(value, integer_values)
    destination = next(iter(destinations)) if len(destinations) == 1 else None
    if destination is not None and destination is not value:
        return ConvOutput(conv, value, destination)
    consumer = _float_consumer(value)
    if consumer is not None:
        reason = f"an integer Conv must write int8, but {consumer.op_type} needs its float output"
        return Refusal.at(conv.node, reason)
    return ConvOutput(conv, value, value)


def _destinations(value: ir.Value, integer_values: set[ir.Value]) -> set[ir.Value | None]:
    """Find the quantized values that ``value`` is moved into; {None} if it goes anywhere else too."""
    destinations = set[ir.Value | None]()

    def step(source: ir.Value) -> Iterable[ir.Value]:
        return () if source in integer_values else (output for use in source.uses() for output in use.node.outputs)

    for copy in reachable([value], step):
        nodes = [use.node for use in copy.uses()]
        moves = all((is_op(node, COMMUTING) or _pads_zeros(node)) and node.graph is value.graph for node in nodes)
        if copy in integer_values:
            destinations.add(copy)
        elif not nodes or copy.is_graph_output() or not moves:
            return {None}
    return destinations


def _float_consumer(value: ir.Value) -> ir.Node | None:
    """Find a node that does not tolerate ``value`` rounded, nor what is picked from it or clipped."""

    def passes(node: ir.Node) -> bool:
        picks = is_op(node, _PICKS | CLIPPING) or _pads_zeros(node)
        return picks and node.graph is value.graph and not any(output.is_graph_output() for output in node.outputs)

    for node, position in consumers(value, through=passes):
        if node.graph is not value.graph or not _tolerates_rounding(node, position):
            return node
    return None


def _tolerates_rounding(node: ir.Node, position: int) -> bool:
    """Tell whether ``node`` tolerates rounded data at that input.

    A position that is added to the embedding of a patch is no residual: what a transformer begins with stays as it is.
    """
    if node.op_type == "Add":
        return is_op(node, _SUMS) and not any(map(is_constant, node.inputs))
    return is_op(node, SIZES | _SUMS) and position == 0


def _pads_zeros(node: ir.Node) -> bool:
    """Tell whether it is a Pad with zeros, or with elements of the data: every scale represents them."""
    fill = node.inputs[2] if len(node.inputs) > 2 else None
    fill_value = array(fill)
    pads_zeros = fill is None or (fill_value is not None and not fill_value.any())
    return node.op_type == "Pad" and node.domain == "" and pads_zeros


def _bounds(node: ir.Node) -> tuple[float, float]:
    """Return the bounds of a Relu or a Clip."""
    if node.op_type == "Relu":
        return 0.0, math.inf
    low, high = (array(value) for value in (*node.inputs[1:], None, None)[:2])
    return (
        -math.inf if low is None else float(low.astype(np.float64)),
        math.inf if high is None else float(high.astype(np.float64)),
    )
