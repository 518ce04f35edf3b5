"""The noise that rounding makes in the model's outputs, measured for one value at a time.

    N_v = ‖y(v̂) - y‖² / ‖y‖²        v̂: v rounded to its grid, all other values as they are

Noises of different roundings add up: they hardly correlate. An output that a Concat joins is taken in pieces, each by
its own size: boxes in pixels would drown scores between 0 and 1.
"""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from ...ir.constants import is_constant
from ...ir.kernels import MOVES
from ...ir.ops import JOINING, is_op
from ...ir.quantizer import Quantizer
from ...ir.traverse import graphs_within, reachable
from ...runtime.feeds import Feed
from ...runtime.session import runner
from ...runtime.taps import with_taps
from ..cost_model.sensitivity import Probe, RoundingStep, insert_probe, probed_outputs

Noise = NDArray[np.float64]
"""The noise in each piece of the outputs, [P]."""

_PROBES = 16
"""The number of values that one session can round: a probe keeps kernels from being fused around it."""

_MOST_PIECES = 16
"""The most pieces; outputs of more are taken whole."""


def measure_noise(model: ir.Model, grids: Mapping[ir.Value, Quantizer], feeds: Sequence[Feed]) -> dict[ir.Value, Noise]:
    """Measure the noise of rounding each value in ``grids``, alone, on ``feeds``."""
    values, noise = list(grids), dict[ir.Value, Noise]()
    names = [value.name or "" for value in pieces(model.graph)]
    tapped = with_taps(model, names)
    tapped.graph.outputs[:] = [output for output in tapped.graph.outputs if output.name in names]
    for start in range(0, len(values), _PROBES):
        some = {value: grids[value] for value in values[start : start + _PROBES]}
        noise |= _measured(tapped, some, feeds)
    return noise


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
        errors = [[_error(y, z) for y, z in zip(*both, strict=True)] for both in zip(outputs, expected, strict=True)]
        noise[value] = _squares(errors) / np.where(sizes > 0, sizes, 1)
    return noise


def _error(rounded: NDArray[np.float64], exact: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the error of an output: all of it where rounding decides on its shape or on what is finite."""
    if rounded.shape != exact.shape or not np.array_equal(np.isfinite(rounded), np.isfinite(exact)):
        return exact
    with np.errstate(invalid="ignore"):  # the difference of infinities, which `_squares` leaves out
        return rounded - exact


def _squares(outputs: Sequence[Sequence[NDArray[np.float64]]]) -> Noise:
    """Return the sum of squares of what is finite in each output over the feeds, [P]."""
    squares = [[np.square(output[np.isfinite(output)]).sum() for output in feed] for feed in outputs]
    noise: Noise = np.array(squares).sum(axis=0)
    return noise


def _probe_everywhere(graph: ir.Graph, value: ir.Value) -> Probe:
    """Let all consumers of ``value`` read it rounded on demand, the outputs of its graph among them."""
    probe, rounded_value = insert_probe(graph, value, [(use.node, use.idx) for use in value.uses()], 8)
    owner = value.graph
    assert isinstance(owner, ir.Graph)
    owner.outputs[:] = [rounded_value if output is value else output for output in owner.outputs]
    return probe


def pieces(graph: ir.Graph) -> list[ir.Value]:
    """Return the floats that the outputs of ``graph`` are joined of; the outputs themselves where these are many."""

    def parts(value: ir.Value) -> Iterator[ir.Value]:
        node = value.producer()
        if node is not None and is_op(node, JOINING | MOVES):
            yield from filter(None, node.inputs if node.op_type in JOINING else node.inputs[:1])

    values = list(reachable(graph.outputs, parts))
    sources = [value for value in values if not any(True for _ in parts(value)) and not is_constant(value)]
    return sources if len(sources) <= _MOST_PIECES else list(graph.outputs)


def _all_values(graph: ir.Graph) -> Iterator[ir.Value]:
    for owner in graphs_within(graph):
        yield from owner.inputs
        for node in owner:
            yield from node.outputs


def _rounding_step(plan: Quantizer) -> RoundingStep:
    """Return the rounding to the grid of ``plan`` as a symmetric one to [-128, 127] of shifted data."""
    assert plan.zero_point is not None
    middle = 128 if plan.dtype == ir.DataType.UINT8 else 0
    shift = (middle - plan.zero_point) * plan.scale
    return RoundingStep(np.asarray(plan.scale, np.float32).reshape(1), np.asarray(shift, np.float32).reshape(1))
