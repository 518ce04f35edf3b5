"""Choose the steps of a graph that run on integers, and say of the other Convs why they do not."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir

from ...calib.collect import statistics
from ...ir.linear import Linear, find_linears
from ...ir.quantizer import Quantizer
from ...ir.refusal import Refusal
from ...ir.steps import Step, find_steps
from .grids import grids, within_bounds
from .planner import Plan, Problem, plans
from .prices import product_time
from .rounding_noise import RoundingNoise

LEAST_GAIN = 1.15
"""The speed of the whole model over float below which it is not worth its rounding."""

LEAST_REGION_GAIN = 1.1
"""The same of a region: steps that hand each other integers."""

NO_NOISE = RoundingNoise({}, {})
"""What is known of noise before it is measured: time alone decides."""


@dataclass(frozen=True)
class IntegerRegions:
    """The ``steps`` that run on integers, the quantizers of what they read and write, and why other Convs do not."""

    steps: tuple[Step, ...] = ()
    quantizers: Mapping[ir.Value, Quantizer] = field(default_factory=dict)
    refusals: Mapping[ir.Node, Refusal] = field(default_factory=dict)


@dataclass(frozen=True)
class Candidates:
    """The ``steps`` of a graph whose values were all measured, and the quantizers of these values."""

    steps: tuple[Step, ...]
    quantizers: Mapping[ir.Value, Quantizer]


def find_candidates(graph: ir.Graph, dtype: ir.DataType) -> Candidates:
    """Return the steps that may run on integers of ``dtype``."""
    steps = tuple(find_steps(graph))
    quantizers = grids(steps, dtype)
    return Candidates(
        tuple(
            step
            for step in steps
            if all(value in quantizers for value in (*step.inputs, *step.outputs)) and within_bounds(step, quantizers)
        ),
        quantizers,
    )


def choose_regions(
    graph: ir.Graph, candidates: Candidates, convs: Iterable[Linear], noise: RoundingNoise = NO_NOISE
) -> IntegerRegions:
    """Choose the regions in which the quantized ``convs`` run on integers, by time and ``noise``."""
    quantized = {conv.node for conv in convs}
    problem = Problem(
        candidates.steps,
        frozenset(value for step in candidates.steps for value in (*step.inputs, *step.outputs)),
        frozenset(linear.node for linear in find_linears(graph) if linear.node not in quantized),
        noise,
        _others(candidates.steps),
        _rest(graph),
    )
    plan = min(plans(problem), key=lambda plan: plan.merit)
    integers, refusals = _gaining(problem, set(plan.integers))
    steps = tuple(step for step in problem.steps if problem.is_integer(step, integers))
    used = dict.fromkeys(value for step in steps for value in (*step.inputs, *step.outputs))
    integer_nodes = {node for step in steps for node in step.nodes}
    missing = [linear for linear in find_linears(graph) if linear.node in quantized - integer_nodes]
    return IntegerRegions(
        steps,
        {value: candidates.quantizers[value] for value in used},
        {linear.node: refusals.get(linear.node) or _refusal(linear, problem, plan) for linear in missing},
    )


def _others(steps: Sequence[Step]) -> Mapping[ir.Value, int]:
    """Count the consumers of each value that are in no step, and the outputs of the model that it is."""
    nodes = {node for step in steps for node in step.nodes}
    values = dict.fromkeys(value for step in steps for value in (*step.inputs, *step.outputs))
    return {value: sum(use.node not in nodes for use in value.uses()) + value.is_graph_output() for value in values}


def _rest(graph: ir.Graph) -> float:
    """Return the time of the linear layers that are no step, in float."""
    layers = (linear for linear in find_linears(graph) if linear.node.op_type != "Conv")
    return sum(product_time(linear) for linear in layers if statistics(linear.data) is not None)


def _gaining(problem: Problem, integers: set[ir.Value]) -> tuple[set[ir.Value], dict[ir.Node, Refusal]]:
    """Leave out the regions that gain too little, or all where the whole model does."""
    refusals: dict[ir.Node, Refusal] = {}
    for region in _regions(problem, integers):
        values = dict.fromkeys(value for step in region for value in (*step.inputs, *step.outputs))
        gain = _gain(problem, region, values, integers)
        if gain < LEAST_REGION_GAIN:
            integers -= values.keys()
            refusals |= _too_slow(region, "the kernels around it", gain, LEAST_REGION_GAIN)
    steps = [step for step in problem.steps if problem.is_integer(step, integers)]
    gain = problem.time(set()) / problem.time(integers) if steps else 1.0
    if steps and gain < LEAST_GAIN:
        return set(), refusals | _too_slow(steps, "the model", gain, LEAST_GAIN)
    return integers, refusals


def _gain(problem: Problem, region: Sequence[Step], values: Iterable[ir.Value], integers: set[ir.Value]) -> float:
    float_time = sum(problem.prices[id(step)].in_float for step in region)
    return float_time / (
        sum(problem.prices[id(step)].in_integers for step in region) + problem.border_time(values, integers)
    )


def _too_slow(steps: Iterable[Step], subject: str, gain: float, least: float) -> dict[ir.Node, Refusal]:
    reason = f"int8 is estimated to run {subject} {gain:.2f} times as fast as float, less than {least} times"
    return {step.linear.node: Refusal.at(step.linear.node, reason) for step in steps if step.linear is not None}


def _regions(problem: Problem, integers: set[ir.Value]) -> Iterator[list[Step]]:
    """Yield the steps on integers that hand each other integers, region by region."""
    steps = {id(step): step for step in problem.steps if problem.is_integer(step, integers)}
    while steps:
        region = [steps.pop(next(iter(steps)))]
        for step in region:
            neighbours = [problem.producers.get(value) for value in step.inputs]
            neighbours += [consumer for value in step.outputs for consumer in problem.consumers.get(value, ())]
            region += [steps.pop(id(one)) for one in neighbours if one is not None and id(one) in steps]
        yield region


def _refusal(conv: Linear, problem: Problem, plan: Plan) -> Refusal:
    """Say why ``conv`` is in float: by the time or the noise that it would add to the ``plan`` alone."""
    step = next((step for step in problem.steps if step.linear is not None and step.linear.node is conv.node), None)
    if step is None:
        return Refusal.at(conv.node, "an integer Conv writes int8, and no range of its output serves what reads it")
    integers = set(plan.integers)
    added = integers | {*step.inputs, *step.outputs}
    slower = problem.time(added) / plan.time - 1
    if slower > 0:
        reason = f"int8 is estimated to make the model slower by {slower:.1%} there, Q and DQ included"
        return Refusal.at(conv.node, reason)
    louder = 10 * np.log10(np.maximum(problem.total_noise(added), 1e-30) / np.maximum(plan.noise, 1e-30)).max()
    return Refusal.at(
        conv.node, f"int8 there is estimated to cost the model {louder:.1f} dB, and to make it faster by {-slower:.1%}"
    )
