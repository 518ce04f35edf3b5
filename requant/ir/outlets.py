"""Where a Conv can write codes: into what its readers make codes of anyway, or into a sum or an average.

    z = Conv(x)        y = z, Relu(z) or Clip(z, 0, …)        codes of y, on the grid of whoever reads them

Some engines have an integer Conv only if its output is rounded to codes. That costs nothing where y is read by layers
in codes, or where ops that only pick and move elements lie between. It costs one more rounding where y is summed,
averaged or multiplied in float. Where anything else reads y, it is not done.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from .constants import array
from .linear import Linear

MOVES = frozenset(
    {"Concat", "DepthToSpace", "Flatten", "GlobalMaxPool", "MaxPool", "Reshape", "Slice", "SpaceToDepth", "Split"}
    | {"Squeeze", "Transpose", "Unsqueeze"}
)
"""Ops whose output has no other elements than the input, so that they may as well be applied to codes."""

SUMS = frozenset(
    {"Add", "AveragePool", "Conv", "ConvTranspose", "Gemm", "GlobalAveragePool", "MatMul", "ReduceMean", "Resize"}
)
"""Ops that can do with rounded data, because noise averages out in them."""


@dataclass(frozen=True)
class Outlet:
    """``value`` is what is rounded: the output of ``conv``, or what a Relu or a Clip makes of it; ``grid`` is the value
    whose quantizer gives the codes."""

    conv: Linear
    value: ir.Value
    grid: ir.Value


def activated(conv: Linear) -> ir.Value:
    """The output of ``conv``, or that of the Relu or Clip at 0 that alone reads it: rounding to codes can do both."""
    readers = [use.node for use in conv.output.uses()]
    if len(readers) == 1 and _is_rectifier(readers[0]) and not conv.output.is_graph_output():
        return readers[0].outputs[0]
    return conv.output


def outlets(layers: Iterable[Linear]) -> dict[ir.Node, Outlet | str]:
    """Of each Conv among the ``layers`` that are in codes: where it writes codes, or why it cannot."""
    coded: dict[ir.Value, set[ir.Node]] = {}
    convs = []
    for linear in layers:
        coded.setdefault(linear.data, set()).add(linear.node)
        convs += [linear] if linear.node.op_type == "Conv" else []
    return {conv.node: _outlet(conv, coded) for conv in convs}


def _outlet(conv: Linear, coded: dict[ir.Value, set[ir.Node]]) -> Outlet | str:
    value = activated(conv)
    if value.is_graph_output():
        return "its output is an output of the model"
    readers, inside = [use.node for use in value.uses()], coded.get(value, set())
    stranger = next((node for node in readers if node not in inside and not _takes_rounded(node)), None)
    if stranger is not None:
        return f"its kernel would round its output, and {stranger.op_type} is to read what is not rounded"
    landings = {value} if inside else _landings(value, coded)
    landing = next(iter(landings)) if len(landings) == 1 else None
    return Outlet(conv, value, landing or value)


def _landings(value: ir.Value, coded: dict[ir.Value, set[ir.Node]]) -> set[ir.Value | None]:
    """The values in codes that ``value`` is moved into, and None if it goes anywhere else too."""
    if value in coded:
        return {value}
    readers = [use.node for use in value.uses()]
    if not readers or value.is_graph_output() or not all(map(_moves, readers)):
        return {None}
    return {landing for node in readers for output in node.outputs for landing in _landings(output, coded)}


def _moves(node: ir.Node) -> bool:
    """Whether ``node`` only picks and moves elements. Zeros around them are elements of every grid."""
    fill = array(node.inputs[2]) if node.op_type == "Pad" and len(node.inputs) > 2 and node.inputs[2] else np.zeros(1)
    return node.domain == "" and (
        node.op_type in MOVES or (node.op_type == "Pad" and fill is not None and not fill.any())
    )


def _takes_rounded(node: ir.Node) -> bool:
    return _moves(node) or (node.domain == "" and node.op_type in SUMS)


def _is_rectifier(node: ir.Node) -> bool:
    if node.domain != "" or node.op_type not in ("Relu", "Clip"):
        return False
    low = array(node.inputs[1]) if node.op_type == "Clip" and len(node.inputs) > 1 else None
    return node.op_type == "Relu" or (low is not None and not low.any())
