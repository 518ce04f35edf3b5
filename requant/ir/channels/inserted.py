"""Sites whose transform is inserted, for values that nothing upstream can transform.

    X' = X · (1/d) + (-t/d)

computed by a Mul and an Add for the linear consumers alone. It is always exact; it costs the two nodes.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from ..linear import Linear, find_linears
from ..quantized import stored_quantizer
from ..refusal import Refusal
from .constraints import Constraints, Variables
from .site import Consumer, Site


@dataclass(frozen=True)
class _LinearInput:
    """A value that linears read along one axis, with a variable for each of its channels."""

    consumers: tuple[Linear, ...]
    variables: Variables


def find_inserted(model: ir.Model, covered: Iterable[Site]) -> list[Site | Refusal]:
    """Find a site without producers for each value that linears outside of the ``covered`` sites read, in graph order.

    Values whose consumers share a weight are one site. A value that several graphs read has a site in each.
    """
    nodes = {consumer.linear.node for site in covered for consumer in site.consumers}
    linears_of: dict[tuple[ir.Value, object], list[Linear]] = {}
    for linear in find_linears(model.graph):
        if linear.node not in nodes:
            linears_of.setdefault((linear.data, linear.node.graph), []).append(linear)
    constraints, inputs, refusals = Constraints(), list[_LinearInput](), list[Site | Refusal]()
    for (value, _), linears in linears_of.items():
        if reason := _unsuitable(value, linears):
            names = tuple(linear.name for linear in linears)
            refusals.append(Refusal("Inserted", value.name or "?", reason, names))
        else:
            inputs.append(_LinearInput(tuple(linears), constraints.allocate(linears[0].inputs)))
    _constrain(inputs, constraints)
    return [*_sites(inputs, constraints), *refusals]


def _unsuitable(value: ir.Value, linears: Iterable[Linear]) -> str | None:
    """Return the reason why ``value`` can have no other channels for ``linears``, or None."""
    if len({(linear.data_axis, linear.inputs) for linear in linears}) > 1:
        return "layers read it along different axes"
    return "it is quantized already" if stored_quantizer(value) is not None else None


def _constrain(inputs: Sequence[_LinearInput], constraints: Constraints) -> None:
    first_uses: dict[ir.Value, tuple[Linear, Variables]] = {}
    other_users = _other_users(linear for item in inputs for linear in item.consumers)
    for item in inputs:
        constraints.group(item.variables)
        for linear in item.consumers:
            weight = linear.weight
            if reason := linear.shift_blocked:
                constraints.no_shift(item.variables, f"{linear.name!r} {reason}")
            first, variables = first_uses.setdefault(weight, (linear, item.variables))
            if (other_user := other_users[weight]) is not None:
                name = other_user.name or other_user.op_type
                constraints.pin(item.variables, f"weight {weight.name!r} is also read by {name!r}")
            elif weight.is_graph_output():
                constraints.pin(item.variables, f"weight {weight.name!r} is an output of the graph")
            elif first.in_axis != linear.in_axis or first.inputs != linear.inputs:
                for channels in (variables, item.variables):
                    constraints.pin(channels, f"weight {weight.name!r} is read twice along different axes")
            else:
                constraints.equal(variables, item.variables, "")


def _other_users(linears: Iterable[Linear]) -> dict[ir.Value, ir.Node | None]:
    """Return a node that reads the weight of each layer otherwise than as the weight of one of ``linears``, or None."""
    layers = list(linears)
    nodes = {linear.node for linear in layers}
    return {
        weight: next((use.node for use in weight.uses() if use.node not in nodes or use.idx != 1), None)
        for weight in {linear.weight for linear in layers}
    }


def _sites(inputs: Iterable[_LinearInput], constraints: Constraints) -> list[Site | Refusal]:
    solution = constraints.solve()
    groups: dict[int, list[_LinearInput]] = {}
    refusals: list[Site | Refusal] = []
    for item in inputs:
        name = item.consumers[0].data.name or "?"
        if (number := int(solution.site[item.variables[0]])) >= 0:
            groups.setdefault(number, []).append(item)
        else:
            names = tuple(linear.name for linear in item.consumers)
            reason = solution.pin_reason(item.variables)
            assert reason is not None
            refusals.append(Refusal("Inserted", name, reason, names))
    sites = [
        Site(
            kind="Inserted",
            name=items[0].consumers[0].data.name or "?",
            channels=int(solution.sizes[number]),
            producers=(),
            consumers=tuple(
                Consumer(linear, solution.channel[item.variables]) for item in items for linear in item.consumers
            ),
            shift_blocked=solution.no_shift_reason(np.concatenate([item.variables for item in items])),
        )
        for number, items in groups.items()
    ]
    return [*sites, *refusals]
