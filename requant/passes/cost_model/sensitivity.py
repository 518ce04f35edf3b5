"""How much noise the rounding of values makes at the outputs of the model, other values left as they are:

    N = ‖y(x̂) - y‖²        x̂ = s · clip(round((x - t) / s), -2^(b-1), 2^(b-1) - 1) + t

What a rounding does to the layers that read the value (`.loss`) says nothing about who listens to them: a
block adds little to a residual stream, and a second branch may be all that an output hangs on.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from ...calib.collect import first_feeds, statistics
from ...ir.constants import constant
from ...ir.formats import Format
from ...ir.linear import Linear, find_linears
from ...ir.names import fresh_name
from ...ir.transform.transform import ChannelTransform
from ...runtime.feeds import Feed
from ...runtime.outputs import holds_floats, numbers
from ...runtime.session import Run, runner
from ..scales import activation_quantizer
from ..select_layers import is_quantized

ENOUGH = 1000
"""Numbers in the outputs that tell the noise of a single value to a few percent."""


class Grid(NamedTuple):
    """Steps and shifts of a value's rounding, as they broadcast against the value."""

    step: NDArray[np.float32]
    shift: NDArray[np.float32]


class Probe(NamedTuple):
    """The names of the inputs that say whether and how a value is rounded."""

    on: str
    step: str
    shift: str


def grid(linear: Linear, transform: ChannelTransform, chosen: Format) -> Grid:
    """The rounding of the data of ``linear`` after ``transform``, which has an entry for each input channel."""
    seen = statistics(linear.data)
    assert seen is not None
    low, high = ((bound - transform.shift) / transform.scale for bound in (seen.minimum, seen.maximum))
    planned = activation_quantizer((float(low.min()), float(high.max())), chosen)
    trailing = len(linear.shape) - 2 if linear.data_axis > 0 else -linear.data_axis - 1
    shape = (-1, *[1] * trailing)
    return Grid(
        (transform.scale * planned.scale).astype(np.float32).reshape(shape),
        transform.shift.astype(np.float32).reshape(shape),
    )


def plain_grids(model: ir.Model, chosen: Format) -> dict[str, Grid]:
    """The grid of every value that is to be coded, as it is."""
    return {
        linear.data.name or "": grid(linear, ChannelTransform.identity(linear.inputs), chosen)
        for linear in find_linears(model.graph)
        if _is_coded(linear)
    }


@dataclass(frozen=True)
class SensitivityProbe:
    """A model that rounds any of its values on demand: one session, whatever is asked.

    ``probes`` are those of the values by name, ``feeds`` the first ones of the calibration, and ``expected`` the float
    outputs in each of them. Outputs of integers are left out.
    """

    run: Run
    probes: Mapping[str, "Probe"]
    feeds: tuple[Feed, ...]
    expected: tuple[list[NDArray[np.float64]], ...]

    @classmethod
    def of(cls, model: ir.Model, chosen: Format) -> "SensitivityProbe":
        """For all values of ``model`` that are to be coded, in codes as wide as ``chosen`` says."""
        probed, names, feeds = model.clone(), plain_grids(model, chosen), first_feeds(model)
        consumers: dict[ir.Value, list[ir.Node]] = {}
        for linear in find_linears(probed.graph):
            if _is_coded(linear):
                consumers.setdefault(linear.data, []).append(linear.node)
        placed = {value.name: _probe(probed.graph, value, nodes, chosen.bits) for value, nodes in consumers.items()}
        probes = {name: placed[name] for name in names}
        run = runner(probed, optimized=True)
        return cls(run, probes, feeds, tuple(_outputs(run, feed, probes, {}) for feed in feeds))

    @property
    def enough(self) -> int:
        """How many feeds it takes until the outputs have said `ENOUGH` numbers; all of them where they say less."""
        said = np.cumsum([sum(output.size for output in outputs) for outputs in self.expected])
        return min(int(np.searchsorted(said, ENOUGH)) + 1, len(self.feeds))

    def noise(self, grids: Mapping[str, Grid], feeds: int) -> NDArray[np.float64]:
        """The squared error of the outputs in the first ``feeds``, [F, O], with the values in ``grids`` rounded."""
        found = (_outputs(self.run, feed, self.probes, grids) for feed in self.feeds[:feeds])
        pairs = zip(found, self.expected[:feeds], strict=True)
        return np.array([[_lost(y, z) for y, z in zip(*pair, strict=True)] for pair in pairs])


def _is_coded(linear: Linear) -> bool:
    seen = statistics(linear.data)
    known = seen is not None and len(seen.minimum) == linear.inputs
    return known and is_quantized(linear) and linear.data.dtype == ir.DataType.FLOAT


def _probe(graph: ir.Graph, value: ir.Value, consumers: Sequence[ir.Node], bits: int) -> Probe:
    """Let ``consumers`` have ``value`` rounded, as three new inputs of the graph say."""
    probe = Probe(*(fresh_name(graph, f"{value.name}.probe.{part}") for part in Probe._fields))
    types = (ir.DataType.BOOL, ir.DataType.FLOAT, ir.DataType.FLOAT)
    on, step, shift = (ir.val(name, dtype) for name, dtype in zip(probe, types, strict=True))
    graph.inputs.extend([on, step, shift])
    half, name = 2 ** (bits - 1), f"{value.name}.probe.bound"
    bounds = [constant(graph, np.array(bound, np.float32), name) for bound in (-half, half - 1)]
    rounding: tuple[tuple[str, list[ir.Value]], ...] = (
        ("Sub", [value, shift]), ("Div", [step]), ("Round", []), ("Clip", bounds), ("Mul", [step]), ("Add", [shift])
    )  # fmt: skip
    branches = {
        "then_branch": _branch(graph, f"{value.name}.probe.rounded", *rounding),
        "else_branch": _branch(graph, f"{value.name}.probe.left", ("Identity", [value])),
    }
    switch = ir.node("If", [on], branches)
    switch.outputs[0].name = fresh_name(graph, f"{value.name}.probe.out")
    producer = value.producer()
    if producer is None:
        graph.insert_before(graph[0], switch)
    else:
        graph.insert_after(producer, switch)
    for node in consumers:
        node.replace_input_with(0, switch.outputs[0])
    return probe


def _branch(graph: ir.Graph, name: str, *ops: tuple[str, Sequence[ir.Value]]) -> ir.Graph:
    """Nodes each of which reads what the one before it computes, then its own operands.

    What they compute has names of its own: in a branch, a name from outside would hide the value that is read.
    """
    nodes: list[ir.Node] = []
    for count, (op_type, operands) in enumerate(ops):
        nodes.append(ir.node(op_type, [*(nodes[-1].outputs if nodes else ()), *operands]))
        nodes[-1].outputs[0].name = fresh_name(graph, f"{name}.{count}")
    return ir.Graph([], nodes[-1].outputs, nodes=nodes, name=name)


def _outputs(run: Run, feed: Feed, probes: Mapping[str, Probe], grids: Mapping[str, Grid]) -> list[NDArray[np.float64]]:
    """The float outputs, with the values in ``grids`` rounded."""
    neutral = Grid(np.ones(1, np.float32), np.zeros(1, np.float32))
    switches = {probe.on: np.array(name in grids) for name, probe in probes.items()}
    steps = {probe.step: grids.get(name, neutral).step for name, probe in probes.items()}
    shifts = {probe.shift: grids.get(name, neutral).shift for name, probe in probes.items()}
    found = run({**feed, **switches, **steps, **shifts})
    return [numbers(output) for output in found if holds_floats(output)]


def _lost(y: NDArray[np.float64], z: NDArray[np.float64]) -> float:
    """‖y - z‖² over what is finite, or infinity where the rounding decides on the shape or on what is finite."""
    if y.shape != z.shape or not np.array_equal(np.isfinite(y), np.isfinite(z)):
        return float("inf")
    finite = np.isfinite(y)
    return float(np.square(y[finite] - z[finite]).sum())
