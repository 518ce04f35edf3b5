"""The regions of a plan that an engine whose kernels write integers runs on integers."""

from collections.abc import Sequence

import onnx_ir as ir

from ..ir.linear import Linear
from ..ir.refusal import Refusal
from ..ir.steps import find_steps
from ..runtime.targets import Target
from .annotations import FLOAT, INTEGER
from .regions.choose import IntegerRegions, choose_regions, find_candidates

_NOT_MEASURED = "the values around it were not measured: run requant.calib.step_values.measure_steps first"


def integer_regions(graph: ir.Graph, layers: Sequence[Linear], engine: Target) -> IntegerRegions:
    """Return the regions that `PlanIntegerValues` planned; without such a plan, those that time alone chooses.

    Convs that are not among the quantized ``layers`` stay in float.
    """
    convs = [linear for linear in layers if linear.node.op_type in engine.integer_outputs]
    steps = list(find_steps(graph))
    values = dict.fromkeys(value for step in steps for value in (*step.inputs, *step.outputs))
    quantizers = {value: plan for value in values if (plan := INTEGER.get(value)) is not None}
    refusals = {linear.node: refusal for linear in convs if (refusal := FLOAT.get(linear.node)) is not None}
    if not quantizers and not refusals:
        return choose_regions(graph, find_candidates(graph, engine.activations[ir.DataType.INT8].dtype), convs)
    quantized = {linear.node for linear in convs}
    chosen = tuple(
        step
        for step in steps
        if quantizers.keys() >= {*step.inputs, *step.outputs} and (step.linear is None or step.linear.node in quantized)
    )
    nodes = {node for step in chosen for node in step.nodes}
    missing = {node: Refusal.at(node, _NOT_MEASURED) for node in quantized - nodes - refusals.keys()}
    return IntegerRegions(chosen, quantizers, {**missing, **refusals})
