"""Refuse the layers that stay in float on an engine whatever is around them."""

from ..ir.linear import Linear
from ..ir.refusal import Refusal
from ..runtime.targets import Target
from .annotations import KEPT
from .magnitudes import signed_data
from .planned_layer import PlannedLayer


def layer_refusal(linear: Linear, plan: PlannedLayer | None, engine: Target) -> Refusal | None:
    """Refuse ``linear`` where it is kept, has no ``plan``, or one for which ``engine`` has no kernel."""
    if refusal := KEPT.get(linear.node):
        return refusal
    if plan is None:
        return Refusal.at(linear.node, "it has no planned quantizer")
    if plan.data is not None and plan.data.zero_point is not None and not engine.zero_points:
        reason = f"its input is quantized already, with a zero point that {engine.name} does not take"
        return Refusal.at(linear.node, reason)
    return engine.excludes(linear, plan.format) or signed_data(linear, engine)
