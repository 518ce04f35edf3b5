"""The kernels of a graph that may run on integers, and the problem of choosing among them."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import onnx_ir as ir

from ...ir.kernels import Kernel, find_kernels
from ...ir.linear import Linear, find_linears
from ...ir.quantizer import Quantizer
from ...runtime.targets import Target
from ..annotations import NOISE
from .grids import grids, within_bounds
from .prices import product_time
from .problem import NO_NOISE, Problem, RoundingNoise
from .weight_noise import weight_noise


@dataclass(frozen=True)
class Candidates:
    """The ``kernels`` of a graph that ``engine`` may run on integers, and the quantizers of measured values."""

    engine: Target
    kernels: Sequence[Kernel]
    quantizers: Mapping[ir.Value, Quantizer]


def find_candidates(graph: ir.Graph, engine: Target) -> Candidates:
    """Return the kernels of ``graph`` that ``engine`` may run on integers."""
    kernels = find_kernels(graph)
    quantizers = grids(kernels, engine.activations[ir.DataType.INT8].dtype)
    measured = [one for one in kernels if quantizers.keys() >= set(one.values) and within_bounds(one, quantizers)]
    return Candidates(engine, measured, quantizers)


def problem(graph: ir.Graph, candidates: Candidates, convs: Iterable[Linear], *, noisy: bool = True) -> Problem:
    """Return the problem in which the quantized ``convs`` alone may run on integers.

    If it is ``noisy``, and noise was measured, no value may be an integer whose noise was not.
    """
    quantized = {conv.node for conv in convs}
    values = dict.fromkeys(value for kernel in candidates.kernels for value in kernel.values)
    noise = known_noise(candidates) if noisy else NO_NOISE
    measured = _measured(candidates.kernels, noise) if noise.values else values
    prices = candidates.engine.prices
    assert prices is not None
    return Problem(
        candidates.kernels,
        prices,
        frozenset(value for value in values if value in measured),
        frozenset(linear.node for linear in find_linears(graph) if linear.node not in quantized),
        noise,
        _others(candidates.kernels),
        sum(product_time(linear, prices) for linear in find_linears(graph) if linear.node.op_type != "Conv"),
    )


def known_noise(candidates: Candidates) -> RoundingNoise:
    """Return the noise that `MeasureRoundingNoise` has measured, and that of weights which follows from it."""
    values = {value: noise for value in candidates.quantizers if (noise := NOISE.get(value)) is not None}
    return RoundingNoise(values, dict(weight_noise(candidates.kernels, candidates.quantizers, values)))


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
