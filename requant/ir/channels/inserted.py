"""A transform for a value that nothing upstream can transform.

    X' = X · (1/d) + (-t/d)

computed by a Mul and an Add for the linear consumers alone. It is always exact; it costs the two nodes.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from ..linear import Linear, find_linears
from .constraints import Constraints, Variables
from .site import Consumer, Refusal, Site


@dataclass(frozen=True)
class _Value:
    """A value that linears read along one axis, with a variable for each of its channels."""

    consumers: tuple[Linear, ...]
    variables: Variables


def find_inserted(model: ir.Model, covered: Iterable[Site]) -> list[Site | Refusal]:
    """A site without producers for each value that linears outside of the ``covered`` sites read, in graph order.

    Values whose consumers share a weight are one site.
    """
    fed = {consumer.linear.node for site in covered for consumer in site.consumers}
    reading: dict[ir.Value, list[Linear]] = {}
    for linear in find_linears(model.graph):
        if linear.node not in fed:
            reading.setdefault(linear.data, []).append(linear)
    constraints, found, refused = Constraints(), list[_Value](), list[Site | Refusal]()
    for value, linears in reading.items():
        if len({(linear.data_axis, linear.inputs) for linear in linears}) > 1:
            reason = "layers read it along different axes"
            refused.append(Refusal("Inserted", value.name or "?", reason, tuple(linear.name for linear in linears)))
        else:
            found.append(_Value(tuple(linears), constraints.allocate(linears[0].inputs)))
    _note(found, constraints)
    return [*_sites(found, constraints), *refused]


def _note(found: Iterable[_Value], constraints: Constraints) -> None:
    first: dict[ir.Value, tuple[Linear, Variables]] = {}
    nodes = {linear.node for item in found for linear in item.consumers}
    for item in found:
        constraints.group(item.variables)
        for linear in item.consumers:
            if linear.padded:
                constraints.no_shift(item.variables, f"{linear.name!r} pads its input with zeros")
            other, tied = first.setdefault(linear.weight, (linear, item.variables))
            stranger = next((use.node for use in linear.weight.uses() if use.node not in nodes or use.idx != 1), None)
            if stranger is not None or linear.weight.is_graph_output():
                consumer = (stranger.name or stranger.op_type) if stranger is not None else "the caller"
                constraints.pin(item.variables, f"weight {linear.weight.name!r} is also read by {consumer!r}")
            elif other.in_axis != linear.in_axis or other.inputs != linear.inputs:
                for variables in (tied, item.variables):
                    constraints.pin(variables, f"weight {linear.weight.name!r} is read twice along different axes")
            else:
                constraints.equal(tied, item.variables, "")


def _sites(found: Iterable[_Value], constraints: Constraints) -> list[Site | Refusal]:
    settled = constraints.solve()
    sites: dict[int, list[_Value]] = {}
    refused: list[Site | Refusal] = []
    for item in found:
        name = item.consumers[0].data.name or "?"
        if (number := int(settled.site[item.variables[0]])) >= 0:
            sites.setdefault(number, []).append(item)
        else:
            names = tuple(linear.name for linear in item.consumers)
            refused.append(Refusal("Inserted", name, settled.why_pinned(item.variables), names))
    made = [
        Site(
            kind="Inserted",
            name=items[0].consumers[0].data.name or "?",
            channels=int(settled.sizes[number]),
            producers=(),
            consumers=tuple(
                Consumer(linear, settled.channel[item.variables]) for item in items for linear in item.consumers
            ),
            shift_blocked=settled.why_fixed(np.concatenate([item.variables for item in items])),
        )
        for number, items in sites.items()
    ]
    return [*made, *refused]
