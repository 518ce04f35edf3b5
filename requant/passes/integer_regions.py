"""The regions of a plan that an engine whose kernels write integers runs on integers."""

from collections.abc import Iterable, Sequence

import onnx_ir as ir

from ..ir.kernels import find_kernels
from ..ir.linear import Linear, find_linears
from ..ir.refusal import Refusal
from ..runtime.targets import Target
from .annotations import FLOAT, INTEGER
from .layer_refusal import layer_refusal
from .planned_layer import planned_layer
from .regions.candidates import find_candidates, problem
from .regions.choose import NOT_MEASURED, IntegerRegions, choose_regions


def integer_regions(graph: ir.Graph, layers: Sequence[Linear], engine: Target) -> IntegerRegions:
    """Return the regions that `PlanIntegerValues` planned; without such a plan, those that time alone chooses.

    Convs that are not among the quantized ``layers`` stay in float.
    """
    convs = [linear for linear in layers if linear.node.op_type in engine.integer_outputs]
    kernels = find_kernels(graph)
    values = dict.fromkeys(value for kernel in kernels for value in kernel.values)
    quantizers = {value: plan for value in values if (plan := INTEGER.get(value)) is not None}
    refusals = {linear.node: refusal for linear in convs if (refusal := FLOAT.get(linear.node)) is not None}
    if not quantizers and not refusals:
        return choose_regions(graph, find_candidates(graph, engine), convs)
    quantized = {linear.node for linear in convs}
    chosen = [
        kernel
        for kernel in kernels
        if quantizers.keys() >= set(kernel.values) and (kernel.linear is None or kernel.linear.node in quantized)
    ]
    nodes = {node for kernel in chosen for node in kernel.nodes}
    missing = {node: Refusal.at(node, NOT_MEASURED) for node in quantized - nodes - refusals.keys()}
    return IntegerRegions(chosen, quantizers, {**missing, **refusals})


def planned_convs(graph: ir.Graph, engine: Target) -> list[Linear]:
    """Return the Convs that ``engine`` may run on integers by their plan, whatever is around them."""
    convs = [linear for linear in find_linears(graph) if linear.node.op_type in engine.integer_outputs]
    return [conv for conv in convs if layer_refusal(conv, planned_layer(conv), engine) is None]


def planned_time(graph: ir.Graph, engine: Target) -> float:
    """Return the estimated nanoseconds of a feed by the regions that `PlanIntegerValues` planned."""
    candidates = find_candidates(graph, engine)
    values = (value for kernel in candidates.kernels for value in kernel.values)
    integers = {value for value in values if INTEGER.get(value) is not None}
    return problem(graph, candidates, planned_convs(graph, engine), noisy=False).time(integers)


def set_regions(graph: ir.Graph, regions: IntegerRegions, values: Iterable[ir.Value]) -> None:
    """Leave ``regions`` in ``graph`` in place of those that were planned before, with quantizers for ``values``."""
    for value in values:
        value.meta.pop(INTEGER.key, None)
    for linear in find_linears(graph):
        linear.node.meta.pop(FLOAT.key, None)
    for value, plan in regions.quantizers.items():
        INTEGER.set(value, plan)
    for node, refusal in regions.refusals.items():
        FLOAT.set(node, refusal)
