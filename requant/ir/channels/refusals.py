"""The reasons why a linear layer's input belongs to no site: a node upstream that blocks, or another consumer."""

from collections.abc import Container, Iterable
from dataclasses import dataclass, field, replace

import onnx_ir as ir

from ..constants import is_constant
from ..linear import Linear, as_linear
from ..ops import ARITHMETIC, is_op
from ..refusal import Refusal
from .absorbing import blocking_reason
from .blocked import NOT_COMMUTING, title
from .channel_values import ChannelValue
from .constraints import Solution
from .layout import is_movement
from .site import Site
from .transfer import commutes


@dataclass
class BlockedValues:
    """The ``reasons`` why values have no channels, and what is needed to find them for values further on."""

    absorbing: set[ir.Value]
    nodes: Container[ir.Node]
    reasons: dict[ir.Value, str] = field(default_factory=dict)


def refuse_inputs(
    linears: Iterable[Linear],
    sites: Iterable[Site],
    norms: Iterable[Refusal],
    blocked: BlockedValues,
    solution: Solution,
    channel_values: dict[ir.Value, ChannelValue],
) -> list[Refusal]:
    """Return the refused ``norms`` with the layers that read them, and a refusal for each other value outside sites."""
    covered = {consumer.linear.node for site in sites for consumer in site.consumers}
    layers: dict[ir.Value, list[str]] = {}
    for linear in linears:
        if linear.node not in covered:
            layers.setdefault(linear.data, []).append(linear.name)
    refusals = {norm.name: norm for norm in norms}
    for value, names in layers.items():
        name, node = value.name or "?", value.producer()
        if name not in refusals:
            data = channel_values.get(value)
            reason = _reason(data, solution) if data is not None else _upstream_reason(value, blocked)
            refusals[name] = Refusal(node.op_type if node is not None else "Input", name, reason)
        refusals[name] = replace(refusals[name], layers=tuple(names))
    return list(refusals.values())


def _reason(data: ChannelValue, solution: Solution) -> str:
    reason = solution.pin_reason(data.channels)
    return reason or "it is computed from several values, some of which cannot be transformed"


def _upstream_reason(value: ir.Value, blocked: BlockedValues) -> str:
    """Follow ``value`` up, past ops that would have passed a transform on, to what blocked it."""
    while True:
        if value in blocked.reasons:
            return blocked.reasons[value]
        node = value.producer()
        if node is None:
            return f"{value.name!r} is an input of the graph"
        if node not in blocked.nodes:
            return f"{value.name!r} is computed outside of the body that reads it"
        if as_linear(node) is not None or (node.op_type == "Add" and _is_bias(node)):
            reason = blocking_reason(value, blocked.nodes, blocked.absorbing)
            return reason or f"{value.name!r} has an unknown rank"
        position = _data_position(node)
        source = node.inputs[position] if node.inputs else None
        if source is None or not (is_movement(node) or commutes(node, position)):
            return f"{title(node)} {NOT_COMMUTING}"
        value = source


def _data_position(node: ir.Node) -> int:
    """Return the input that ``node`` passes a transform on from: V of P V, and not the constant of x + c."""
    return 1 if node.op_type == "MatMul" or (is_op(node, ARITHMETIC) and is_constant(node.inputs[0])) else 0


def _is_bias(add: ir.Node) -> bool:
    """Tell whether ``add`` is the bias of a linear layer."""
    producers = (value.producer() for value in add.inputs if value is not None)
    linears = (as_linear(node) for node in producers if node is not None)
    return any(linear is not None and linear.output is add.outputs[0] for linear in linears)
