"""LSTMs of the form for which ONNX Runtime has an integer kernel, whose data are quantized at run time.

i, o, f, c = X Wᵀ + H Rᵀ + b        W [D, 4 H, I],  R [D, 4 H, H],  D directions, gates side by side
"""

from collections.abc import Iterator
from typing import NamedTuple

import onnx_ir as ir

from .constants import constant_shape, is_constant
from .linear import FEWEST_CHANNELS
from .ops import is_op
from .refusal import Refusal
from .traverse import nodes_within

DYNAMIC_LSTM = "an integer LSTM quantizes its data at run time: take the recipe int8-dynamic, on cpu"
"""The reason for which an LSTM stays in float where data are quantized by calibrated scales."""


class Recurrent(NamedTuple):
    """An LSTM, the weight of its data and the weight of its hidden state."""

    node: ir.Node
    weight: ir.Value
    recurrence: ir.Value


def as_recurrent(node: ir.Node) -> Recurrent | Refusal:
    """View ``node`` as an LSTM with an integer kernel, or refuse it."""
    if not is_op(node, frozenset({"LSTM"})):
        return Refusal.at(node, f"engines run {node.op_type} as one node in float")
    data, weight, recurrence = node.inputs[:3]
    if data is None or weight is None or recurrence is None or not (is_constant(weight) and is_constant(recurrence)):
        return Refusal.at(node, "its weights are computed at run time")
    if {data.dtype, weight.dtype, recurrence.dtype} - {None, ir.DataType.FLOAT}:
        return Refusal.at(node, "an integer LSTM takes float32 alone")
    if node.attributes.get_int("layout", 0):
        return Refusal.at(node, "an integer LSTM takes data with the time first")
    if constant_shape(recurrence)[-1] < FEWEST_CHANNELS:
        reason = f"{constant_shape(recurrence)[-1]} hidden channels are too few for an integer kernel to pay"
        return Refusal.at(node, reason)
    return Recurrent(node, weight, recurrence)


def find_recurrent(graph: ir.Graph) -> Iterator[Recurrent]:
    """Yield every LSTM of ``graph`` and its bodies that has an integer kernel."""
    views = (as_recurrent(node) for node in nodes_within(graph) if node.op_type == "LSTM")
    return (view for view in views if isinstance(view, Recurrent))
