"""Choose the kernels of a graph that run on integers, and say of the other Convs why they do not."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir

from ...calib.collect import statistics
from ...ir.kernels import Kernel, find_kernels
from ...ir.linear import Linear, find_linears
from ...ir.quantizer import Quantizer
from ...ir.refusal import Refusal
from ..annotations import NOISE
from .grids import grids, within_bounds
from .planner import NO_NOISE, Plan, Problem, RoundingNoise, descend, plans
from .prices import product_time
from .weight_noise import weight_noise

LEAST_GAIN = 1.15
"""The speed of the whole model over float below which it is not worth its rounding."""

LEAST_REGION_GAIN = 1.1
"""The same of a region: kernels that hand each other integers."""

NOT_MEASURED = "the values around it were not measured: run requant.calib.activations.measure_activations first"


@dataclass(frozen=True)
class IntegerRegions:
    """The ``kernels`` that run on integers, the quantizers of what they read and write, and why other Convs do not."""

    kernels: Sequence[Kernel] = ()
    quantizers: Mapping[ir.Value, Quantizer] = field(default_factory=dict)
    refusals: Mapping[ir.Node, Refusal] = field(default_factory=dict)


@dataclass(frozen=True)
class Candidates:
    """The ``kernels`` of a graph whose values were all measured, and the quantizers of these values."""

    kernels: Sequence[Kernel]
    quantizers: Mapping[ir.Value, Quantizer]


def find_candidates(graph: ir.Graph, dtype: ir.DataType) -> Candidates:
    """Return the kernels that may run on integers of ``dtype``."""
    kernels = find_kernels(graph)
    quantizers = grids(kernels, dtype)
    return Candidates(
        [one for one in kernels if quantizers.keys() >= set(one.values) and within_bounds(one, quantizers)], quantizers
    )


def fastest(graph: ir.Graph, candidates: Candidates, convs: Iterable[Linear]) -> tuple[set[ir.Value], float]:
    """Return the values that are worth it as integers by time alone, and the time of the model in float."""
    problem = _problem(graph, candidates, convs, NO_NOISE)
    integers = descend(problem, set(problem.allowed), np.zeros(1))
    return integers, problem.time(set())


def choose_regions(graph: ir.Graph, candidates: Candidates, convs: Iterable[Linear]) -> IntegerRegions:
    """Choose the regions in which the quantized ``convs`` run on integers, by time and by noise as far as measured."""
    quantized = {conv.node for conv in convs}
    if not candidates.kernels:
        return IntegerRegions(refusals={node: Refusal.at(node, NOT_MEASURED) for node in quantized})
    values = {value: noise for value in candidates.quantizers if (noise := NOISE.get(value)) is not None}
    weights = dict(weight_noise(candidates.kernels, candidates.quantizers, values))
    problem = _problem(graph, candidates, convs, RoundingNoise(values, weights))
    plan = min(plans(problem), key=lambda plan: plan.merit)
    integers, refusals = _gaining(problem, set(plan.integers))
    kernels = tuple(kernel for kernel in problem.kernels if problem.is_integer(kernel, integers))
    used = dict.fromkeys(value for kernel in kernels for value in kernel.values)
    integer_nodes = {node for kernel in kernels for node in kernel.nodes}
    missing = [linear for linear in find_linears(graph) if linear.node in quantized - integer_nodes]
    return IntegerRegions(
        kernels,
        {value: candidates.quantizers[value] for value in used},
        {linear.node: refusals.get(linear.node) or _refusal(linear, problem, plan) for linear in missing},
    )


def _problem(graph: ir.Graph, candidates: Candidates, convs: Iterable[Linear], noise: RoundingNoise) -> Problem:
    """Return the problem in which no other layers than ``convs`` may run on integers, nor values of unknown noise."""
    quantized = {conv.node for conv in convs}
    values = dict.fromkeys(value for kernel in candidates.kernels for value in kernel.values)
    measured = _measured(candidates.kernels, noise) if noise.values else values
    return Problem(
        candidates.kernels,
        frozenset(value for value in values if value in measured),
        frozenset(linear.node for linear in find_linears(graph) if linear.node not in quantized),
        noise,
        _others(candidates.kernels),
        _rest(graph),
    )


def _measured(kernels: Iterable[Kernel], noise: RoundingNoise) -> set[ir.Value]:
    """Return the values whose noise was measured, and those that are moved from these alone."""
    measured = set(noise.values)
    for kernel in kernels:
        if kernel.moves and measured.issuperset(kernel.inputs):
            measured.update(kernel.outputs)
    return measured


def _others(kernels: Sequence[Kernel]) -> Mapping[ir.Value, int]:
    """Count the consumers of each value that are in no kernel, and the outputs of the model that it is."""
    nodes = {node for kernel in kernels for node in kernel.nodes}
    values = dict.fromkeys(value for kernel in kernels for value in kernel.values)
    return {value: sum(use.node not in nodes for use in value.uses()) + value.is_graph_output() for value in values}


def _rest(graph: ir.Graph) -> float:
    """Return the time of the linear layers that are no kernel, in float."""
    layers = (linear for linear in find_linears(graph) if linear.node.op_type != "Conv")
    return sum(product_time(linear) for linear in layers if statistics(linear.data) is not None)


def _gaining(problem: Problem, integers: set[ir.Value]) -> tuple[set[ir.Value], dict[ir.Node, Refusal]]:
    """Leave out the regions that gain too little, or all where the whole model does."""
    refusals: dict[ir.Node, Refusal] = {}
    for region in _regions(problem, integers):
        values = dict.fromkeys(value for kernel in region for value in kernel.values)
        gain = _gain(problem, region, values, integers)
        if gain < LEAST_REGION_GAIN:
            integers -= values.keys()
            refusals |= _too_slow(region, "the kernels around it", gain, LEAST_REGION_GAIN)
    kernels = [kernel for kernel in problem.kernels if problem.is_integer(kernel, integers)]
    gain = problem.time(set()) / problem.time(integers) if kernels else 1.0
    if kernels and gain < LEAST_GAIN:
        return set(), refusals | _too_slow(kernels, "the model", gain, LEAST_GAIN)
    return integers, refusals


def _gain(problem: Problem, region: Sequence[Kernel], values: Iterable[ir.Value], integers: set[ir.Value]) -> float:
    float_time = sum(problem.prices[id(kernel)].in_float for kernel in region)
    return float_time / (
        sum(problem.prices[id(kernel)].in_integers for kernel in region) + problem.border_time(values, integers)
    )


def _too_slow(kernels: Iterable[Kernel], subject: str, gain: float, least: float) -> dict[ir.Node, Refusal]:
    reason = f"int8 is estimated to run {subject} {gain:.2f} times as fast as float, less than {least} times"
    convs = [kernel.linear.node for kernel in kernels if kernel.linear is not None]
    return {node: Refusal.at(node, reason) for node in convs}


def _regions(problem: Problem, integers: set[ir.Value]) -> Iterator[list[Kernel]]:
    """Yield the kernels on integers that hand each other integers, region by region."""
    kernels = {id(kernel): kernel for kernel in problem.kernels if problem.is_integer(kernel, integers)}
    while kernels:
        region = [kernels.pop(next(iter(kernels)))]
        for kernel in region:
            neighbours = [problem.producers.get(value) for value in kernel.inputs]
            neighbours += [consumer for value in kernel.outputs for consumer in problem.consumers.get(value, ())]
            region += [kernels.pop(id(one)) for one in neighbours if one is not None and id(one) in kernels]
        yield region


def _refusal(conv: Linear, problem: Problem, plan: Plan) -> Refusal:
    """Say why ``conv`` is in float: by the time or the noise that it would add to the ``plan`` alone."""
    kernel = next((one for one in problem.kernels if one.linear is not None and one.linear.node is conv.node), None)
    if kernel is None:
        return Refusal.at(conv.node, "an integer Conv writes int8, and no range of its output serves what reads it")
    integers = set(plan.integers)
    added = integers | set(kernel.values)
    slower = problem.time(added) / plan.time - 1
    if slower > 0:
        reason = f"int8 is estimated to make the model slower by {slower:.1%} there, Q and DQ included"
        return Refusal.at(conv.node, reason)
    louder = 10 * np.log10(np.maximum(problem.total_noise(added), 1e-30) / np.maximum(plan.noise, 1e-30)).max()
    return Refusal.at(
        conv.node, f"int8 there is estimated to cost the model {louder:.1f} dB, and to make it faster by {-slower:.1%}"
    )
