"""Why a linear layer's input belongs to no site: who upstream could not take part, or who else reads it."""

from collections.abc import Container, Iterable
from dataclasses import dataclass, field, replace

import onnx_ir as ir

from ..linear import Linear, as_linear
from .absorbing import blocker
from .channel_values import ChannelValue
from .constraints import Solution
from .layout import is_mover
from .site import Refusal, Site
from .transfer import passes


@dataclass
class Lost:
    """Values whose track was lost, and what is needed to say why for others."""

    absorbing: set[ir.Value]
    nodes: Container[ir.Node]
    why: dict[ir.Value, str] = field(default_factory=dict)


def refused_consumers(
    linears: Iterable[Linear],
    sites: Iterable[Site],
    refused: Iterable[Refusal],
    lost: Lost,
    settled: Solution,
    tracks: dict[ir.Value, ChannelValue],
) -> list[Refusal]:
    """The ``refused`` norms with the layers that read them, and a refusal for each other value that no site feeds."""
    fed = {consumer.linear.node for site in sites for consumer in site.consumers}
    left: dict[ir.Value, list[str]] = {}
    for linear in linears:
        if linear.node not in fed:
            left.setdefault(linear.data, []).append(linear.name)
    known = {item.name: item for item in refused}
    for value, layers in left.items():
        name, node = value.name or "?", value.producer()
        if name not in known:
            reason = settled.why_pinned(tracks[value].channels) if value in tracks else _upstream(value, lost)
            known[name] = Refusal(node.op_type if node is not None else "Input", name, reason)
        known[name] = replace(known[name], layers=tuple(layers))
    return list(known.values())


def _upstream(value: ir.Value, lost: Lost) -> str:
    """Follow ``value`` up, past ops that would have passed a transform on, to what stopped it."""
    while True:
        if value in lost.why:
            return lost.why[value]
        node = value.producer()
        if node is None:
            return f"{value.name!r} is an input of the graph"
        if as_linear(node) is not None or (node.op_type == "Add" and _is_source(node)):
            return blocker(value, lost.nodes, lost.absorbing) or f"{value.name!r} has an unknown rank"
        source = node.inputs[1 if node.op_type == "MatMul" else 0] if node.inputs else None  # V, not P
        if source is None or not (is_mover(node) or passes(node, 0)):
            return f"{node.op_type} {node.name!r} lets no transform through"
        value = source


def _is_source(add: ir.Node) -> bool:
    """Whether ``add`` is the bias of a linear layer."""
    return any(
        value is not None and (node := value.producer()) is not None and (linear := as_linear(node)) is not None
        and linear.output is add.outputs[0]
        for value in add.inputs
    )  # fmt: skip
