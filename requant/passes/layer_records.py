"""Records of linear layers for the report: quantized by a plan, refused, or out of reach of every pass."""

from collections.abc import Iterator

import onnx_ir as ir

from ..ir.linear import Linear, as_linear, find_linears
from ..ir.refusal import Refusal
from ..ir.traverse import enclosed_nodes
from .planned_layer import PlannedLayer
from .records import LayerRecord
from .unplanned_layers import unplanned_layers


def layer_record(linear: Linear, refusal: Refusal | None, plan: PlannedLayer | None = None) -> LayerRecord:
    """Return the record of a layer that is quantized by its ``plan``, or refused."""
    name, op_type, output = linear.name, linear.node.op_type, linear.output.name or ""
    if refusal:
        return LayerRecord(name, op_type, linear.shape, output, quantized=False, reason=refusal.reason)
    fmt = "" if plan is None else str(plan.format)
    return LayerRecord(name, op_type, linear.shape, output, quantized=True, format=fmt)


def float_layers(model: ir.Model, reason: str) -> Iterator[LayerRecord]:
    """Yield a record of each layer of ``model``, all of which stay in float for one ``reason``."""
    for linear in find_linears(model.graph):
        yield layer_record(linear, Refusal.at(linear.node, reason))
    yield from unplanned_layers(model).values()
    yield from enclosed_layers(model)


def enclosed_layers(model: ir.Model) -> Iterator[LayerRecord]:
    """Yield a record of each layer in the body of a node that no pass looks into."""
    for owner, node in enclosed_nodes(model.graph):
        if linear := as_linear(node):
            where = " that stacks along another axis than the first" if owner.op_type == "Scan" else ""
            yield layer_record(linear, Refusal.at(node, f"it is in the body of a {owner.op_type}{where}"))
