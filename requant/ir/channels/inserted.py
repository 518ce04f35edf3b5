"""A basis for a value that nothing upstream can re-base.

    X' = X · (1/d) + (-t/d)

computed by a Mul and an Add for the linear readers alone. It is always exact; it costs the two nodes.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from ..linear import Linear, find_linears
from .constraints import Ledger, Variables
from .site import Reader, Refused, Site


@dataclass(frozen=True)
class _Value:
    """A value that linears read along one axis, with a variable for each of its channels."""

    readers: tuple[Linear, ...]
    variables: Variables


def find_explicit(model: ir.Model, covered: Iterable[Site]) -> list[Site | Refused]:
    """A site without writers for each value that linears outside of the ``covered`` sites read, in graph order.

    Values whose readers share a weight are one site.
    """
    fed = {reader.linear.node for site in covered for reader in site.readers}
    reading: dict[ir.Value, list[Linear]] = {}
    for linear in find_linears(model.graph):
        if linear.node not in fed:
            reading.setdefault(linear.data, []).append(linear)
    ledger, found, refused = Ledger(), list[_Value](), list[Site | Refused]()
    for value, linears in reading.items():
        if len({(linear.data_axis, linear.inputs) for linear in linears}) > 1:
            reason = "layers read it along different axes"
            refused.append(Refused("Explicit", value.name or "?", reason, tuple(linear.name for linear in linears)))
        else:
            found.append(_Value(tuple(linears), ledger.allocate(linears[0].inputs)))
    _note(found, ledger)
    return [*_sites(found, ledger), *refused]


def _note(found: Iterable[_Value], ledger: Ledger) -> None:
    first: dict[ir.Value, tuple[Linear, Variables]] = {}
    nodes = {linear.node for item in found for linear in item.readers}
    for item in found:
        ledger.join(item.variables)
        for linear in item.readers:
            if linear.padded:
                ledger.fix(item.variables, f"{linear.name!r} pads its input with zeros")
            other, tied = first.setdefault(linear.weight, (linear, item.variables))
            stranger = next((use.node for use in linear.weight.uses() if use.node not in nodes or use.idx != 1), None)
            if stranger is not None or linear.weight.is_graph_output():
                reader = (stranger.name or stranger.op_type) if stranger is not None else "the caller"
                ledger.pin(item.variables, f"weight {linear.weight.name!r} is also read by {reader!r}")
            elif other.in_axis != linear.in_axis or other.inputs != linear.inputs:
                for variables in (tied, item.variables):
                    ledger.pin(variables, f"weight {linear.weight.name!r} is read twice along different axes")
            else:
                ledger.tie(tied, item.variables, "")


def _sites(found: Iterable[_Value], ledger: Ledger) -> list[Site | Refused]:
    settled = ledger.settle()
    sites: dict[int, list[_Value]] = {}
    refused: list[Site | Refused] = []
    for item in found:
        name = item.readers[0].data.name or "?"
        if (number := int(settled.site[item.variables[0]])) >= 0:
            sites.setdefault(number, []).append(item)
        else:
            names = tuple(linear.name for linear in item.readers)
            refused.append(Refused("Explicit", name, settled.why_pinned(item.variables), names))
    made = [
        Site(
            kind="Explicit",
            name=items[0].readers[0].data.name or "?",
            channels=int(settled.sizes[number]),
            writers=(),
            readers=tuple(Reader(linear, settled.channel[item.variables]) for item in items for linear in item.readers),
            fixed_shift=settled.why_fixed(np.concatenate([item.variables for item in items])),
        )
        for number, items in sites.items()
    ]
    return [*made, *refused]
