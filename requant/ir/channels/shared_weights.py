"""The constraints that follow from weights that several nodes share."""

from collections import Counter
from collections.abc import Container

import numpy as np
import onnx_ir as ir

from ..linear import Linear, as_linear
from ..norms import Norm
from .assemble import Participants
from .constraints import Constraints, Variables
from .site import Source


def constrain_shared_weights(
    participants: Participants, weights: dict[tuple[ir.Value, int], Variables], constraints: Constraints
) -> None:
    """Require equal transforms where linears share a weight, and pin those that share it with any other node.

    ``weights`` has a key for each weight and axis along which a source produces channels.
    """
    _constrain_consumers(participants, constraints)
    producers = {source.node for source, _ in participants.producers if not isinstance(source, Norm)}
    axes = Counter(weight for weight, _ in weights)
    foreign_uses = {weight: _foreign_use(weight, producers) for weight in axes}
    for source, variables in participants.producers:
        weight = _weight(source)
        if weight is None:
            constraints.group(variables)
        elif reason := foreign_uses[weight]:
            constraints.pin(variables, reason)
        elif axes[weight] > 1:
            constraints.pin(variables, f"weight {weight.name!r} produces channels along different axes")


def _constrain_consumers(participants: Participants, constraints: Constraints) -> None:
    first_uses: dict[ir.Value, tuple[Linear, Variables]] = {}
    consumers = {linear.node for linear, _ in participants.consumers}
    foreign_uses = {
        weight: _foreign_use(weight, consumers) for weight in {linear.weight for linear, _ in participants.consumers}
    }
    for linear, variables in participants.consumers:
        first, first_variables = first_uses.setdefault(linear.weight, (linear, variables))
        if first.in_axis != linear.in_axis or first.inputs != linear.inputs:
            for channels in (first_variables, variables):
                constraints.pin(channels, f"weight {linear.weight.name!r} is read twice along different axes")
        else:
            reason = f"weight {linear.weight.name!r} is also read by a layer without a site"
            constraints.equal(first_variables, variables, reason)
            constraints.group(np.concatenate([first_variables, variables]))
        if other := foreign_uses[linear.weight]:
            constraints.pin(variables, other)


def _weight(source: Source) -> ir.Value | None:
    """Return the weight that other nodes could share; None for a norm, whose parameters are replaced."""
    if isinstance(source, Norm):
        return None
    return source.weight if isinstance(source, Linear) else source.table


def _foreign_use(weight: ir.Value, participants: Container[ir.Node]) -> str | None:
    """Say which node other than the ``participants`` uses ``weight``; None if there is none."""
    if weight.is_graph_output():
        return f"weight {weight.name!r} is an output of the graph"
    for use in weight.uses():
        linear = as_linear(use.node)
        if use.node not in participants or (linear is not None and linear.weight is not weight):
            return f"weight {weight.name!r} is also read by {use.node.name or use.node.op_type!r}"
    return None
