"""The noise that rounding makes in the model's outputs, measured for one value at a time.

    N_v = ‖y(v̂) - y‖² / ‖y‖²                          v̂: v rounded to its grid, all other values as they are
    N_w = N_v · E(δ f'(v))² / E(f(v̂) - f(v))²         δ: what rounding the weight of a Conv adds to its output v

Noises of different roundings add up: they hardly correlate. An output that a Concat joins is taken in pieces, each by
its own size: boxes in pixels would drown scores between 0 and 1.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from ...calib.activations import activation
from ...calib.collect import first_feeds, statistics
from ...ir.kernels import MOVES, Kernel
from ...ir.linear import Linear
from ...ir.ops import JOINING, is_op
from ...ir.quantizer import Quantizer, quantizer
from ...ir.traverse import reachable
from ...runtime.feeds import Feed
from ...runtime.session import runner
from ...runtime.taps import with_taps
from ..cost_model.sensitivity import Probe, RoundingStep, insert_probe, probed_outputs
from .ranges import Function, function, rounded, sample

Noise = NDArray[np.float64]
"""The noise in each piece of the outputs, [P]."""

_FEEDS = 2
"""The number of feeds that noise is measured on."""

_PROBES = 16
"""The number of values that one session can round: a probe keeps kernels from being fused around it."""

_MOST_PIECES = 16
"""The most pieces; outputs of more are taken whole."""


@dataclass(frozen=True)
class RoundingNoise:
    """The noise of rounding each of the values that are computed, and of rounding the weight of each Conv."""

    values: Mapping[ir.Value, Noise]
    weights: Mapping[ir.Node, Noise]


def measure_noise(model: ir.Model, kernels: Sequence[Kernel], grids: Mapping[ir.Value, Quantizer]) -> RoundingNoise:
    """Measure the noise of each value in ``grids`` that is computed and not moved, and estimate that of the weights."""
    values = [value for value in grids if (entry := activation(value)) is not None and entry.statistics is not None]
    tapped = with_taps(model, [value.name or "" for value in pieces(model.graph)])
    noise: dict[ir.Value, Noise] = {}
    for start in range(0, len(values), _PROBES):
        some = {value: grids[value] for value in values[start : start + _PROBES]}
        noise |= _measured(tapped, some, first_feeds(model)[:_FEEDS])
    return RoundingNoise(noise, dict(_weight_noise(kernels, grids, noise)))


def _measured(model: ir.Model, grids: Mapping[ir.Value, Quantizer], feeds: Sequence[Feed]) -> dict[ir.Value, Noise]:
    """Measure the noise of each value in ``grids`` in the outputs of ``model``, in a session of their own."""
    probed = model.clone()
    by_name = {value.name: value for value in _all_values(probed.graph)}
    probes = {value.name or "": _probe_everywhere(probed.graph, by_name[value.name]) for value in grids}
    run = runner(probed, optimized=True)
    expected = [probed_outputs(run, feed, probes, {}) for feed in feeds]
    sizes = _squares(expected)
    noise = {}
    for value, plan in grids.items():
        kernel = {value.name or "": _rounding_step(plan)}
        outputs = [probed_outputs(run, feed, probes, kernel) for feed in feeds]
        errors = [[y - z for y, z in zip(*both, strict=True)] for both in zip(outputs, expected, strict=True)]
        noise[value] = _squares(errors) / np.where(sizes > 0, sizes, 1)
    return noise


def _squares(outputs: Sequence[Sequence[NDArray[np.float64]]]) -> Noise:
    """Return the sum of squares of each output over the feeds, [P]."""
    noise: Noise = np.array([[np.square(output).sum() for output in feed] for feed in outputs]).sum(axis=0)
    return noise


def _probe_everywhere(graph: ir.Graph, value: ir.Value) -> Probe:
    """Let all consumers of ``value`` read it rounded on demand, the outputs of the graph among them."""
    probe, rounded_value = insert_probe(graph, value, [(use.node, use.idx) for use in value.uses()], 8)
    for position, output in enumerate(graph.outputs):
        if output is value:
            graph.outputs[position] = rounded_value
    return probe


def pieces(graph: ir.Graph) -> list[ir.Value]:
    """Return the floats that the outputs of ``graph`` are joined of; the outputs themselves where these are many."""

    def parts(value: ir.Value) -> Iterator[ir.Value]:
        node = value.producer()
        if node is not None and is_op(node, JOINING | MOVES):
            yield from filter(None, node.inputs if node.op_type in JOINING else node.inputs[:1])

    values = list(reachable(graph.outputs, parts))
    sources = [value for value in values if not any(True for _ in parts(value)) and value.graph is graph]
    return sources if len(sources) <= _MOST_PIECES else list(graph.outputs)


def _all_values(graph: ir.Graph) -> Iterator[ir.Value]:
    yield from graph.inputs
    for node in graph.all_nodes():
        yield from node.outputs


def _rounding_step(plan: Quantizer) -> RoundingStep:
    """Return the rounding to the grid of ``plan`` as a symmetric one to [-128, 127] of shifted data."""
    assert plan.zero_point is not None
    middle = 128 if plan.dtype == ir.DataType.UINT8 else 0
    shift = (middle - plan.zero_point) * plan.scale
    return RoundingStep(np.asarray(plan.scale, np.float32).reshape(1), np.asarray(shift, np.float32).reshape(1))


def _weight_noise(
    kernels: Sequence[Kernel], grids: Mapping[ir.Value, Quantizer], noise: Mapping[ir.Value, Noise]
) -> Iterator[tuple[ir.Node, Noise]]:
    """Yield the noise of each Conv's weight, from that of its output by the ratio of the two errors there."""
    consumers: dict[ir.Value, list[Kernel]] = {}
    for kernel in kernels:
        for value in kernel.inputs:
            consumers.setdefault(value, []).append(kernel)
    for kernel in kernels:
        output = kernel.outputs[0]
        entry = activation(output)
        if kernel.linear is None or output not in noise or entry is None or entry.statistics is None:
            continue
        read_as, x = function(consumers.get(output, [])), sample(entry.statistics)
        error = float(np.square(read_as(rounded(x, grids[output])) - read_as(x)).mean())
        added = _weight_error(kernel.linear)
        yield kernel.linear.node, noise[output] * (_amplified(x, added, read_as) / max(error, 1e-30))


def _amplified(x: NDArray[np.float64], power: float, read_as: Function) -> float:
    """Return the mean square of what an error of ``power`` in x makes of f(x)."""
    delta = np.sqrt(power)
    return float(np.square((read_as(x + delta) - read_as(x - delta)) / 2).mean())


def _weight_error(conv: Linear) -> float:
    """Return the mean square of what rounding the weight adds to the output, over its channels."""
    plan, stats = quantizer(conv.weight), statistics(conv.data)
    tensor = conv.weight.const_value
    if plan is None or stats is None or tensor is None:
        return 0.0
    weight = tensor.numpy().astype(np.float64)
    integers = plan.encode(tensor.numpy()) if plan.codes is None else plan.codes
    difference = np.square(weight - plan.decode(integers)).reshape(*weight.shape[:2], -1).sum(axis=2)  # [N, K/groups]
    squares = (stats.variance + stats.mean**2).reshape(conv.groups, -1)
    per_output = np.repeat(squares, conv.outputs // conv.groups, axis=0)
    return float((difference * per_output).sum(axis=1).mean())
