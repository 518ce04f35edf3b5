"""The sensitivity of the model's outputs to the rounding of values, as the noise that it makes there:

    N = ‖y(x̂) - y‖²        x̂ = s · clip(round((x - t) / s), -2^(b-1), 2^(b-1) - 1) + t

Other values are as they are. The loss at the layers that read the value (`.loss`) does not tell this: a block adds
little to a residual stream, and a second branch may be all that an output depends on.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from ...calib.collect import first_feeds, statistics
from ...ir.build import insert_behind
from ...ir.constants import constant
from ...ir.formats import Format
from ...ir.linear import Linear, find_linears
from ...ir.names import fresh_name
from ...ir.quantized import is_partly_quantized
from ...ir.transform.transform import ChannelTransform
from ...ir.traverse import Slot
from ...runtime.feeds import Feed
from ...runtime.outputs import holds_floats, numbers
from ...runtime.session import Run, runner
from ..annotations import is_quantized
from ..scales import activation_quantizer

ENOUGH = 1000
"""The number of output elements that give the noise of a single value to a few percent."""


class RoundingStep(NamedTuple):
    """The steps and shifts of a value's rounding, as they broadcast against the value."""

    step: NDArray[np.float32]
    shift: NDArray[np.float32]


class Probe(NamedTuple):
    """The names of the graph inputs that switch the rounding of a value, and set its step and shift."""

    on: str
    step: str
    shift: str


def rounding_step(linear: Linear, transform: ChannelTransform, fmt: Format) -> RoundingStep:
    """Return the rounding of the data of ``linear`` after ``transform``, which has an entry for each input channel."""
    stats = statistics(linear.data)
    assert stats is not None
    low, high = ((bound - transform.shift) / transform.scale for bound in (stats.minimum, stats.maximum))
    quantizer = activation_quantizer((float(low.min()), float(high.max())), fmt)
    trailing = len(linear.shape) - 2 if linear.data_axis > 0 else -linear.data_axis - 1
    shape = (-1, *[1] * trailing)
    return RoundingStep(
        (transform.scale * quantizer.scale).astype(np.float32).reshape(shape),
        transform.shift.astype(np.float32).reshape(shape),
    )


def plain_steps(model: ir.Model, fmt: Format) -> dict[str, RoundingStep]:
    """Return the rounding step of every value that is to be quantized, without a transform."""
    return {
        linear.data.name or "": rounding_step(linear, ChannelTransform.identity(linear.inputs), fmt)
        for linear in find_linears(model.graph)
        if _has_quantized_data(linear)
    }


@dataclass(frozen=True)
class SensitivityProbe:
    """A model that rounds any of its values on demand: one session for all of them.

    ``probes`` are those of the values by name, ``feeds`` the first ones of the calibration, and ``expected`` the float
    outputs in each of them. Outputs of integers are left out.
    """

    run: Run
    probes: Mapping[str, "Probe"]
    feeds: tuple[Feed, ...]
    expected: tuple[list[NDArray[np.float64]], ...]

    @classmethod
    def of(cls, model: ir.Model, fmt: Format) -> "SensitivityProbe":
        """Return the probe of all values of ``model`` that are to be quantized, with the bits of ``fmt``."""
        probed, names, feeds = model.clone(), plain_steps(model, fmt), first_feeds(model)
        consumers: dict[ir.Value, list[Slot]] = {}
        for linear in find_linears(probed.graph):
            if _has_quantized_data(linear):
                consumers.setdefault(linear.data, []).append((linear.node, 0))
        by_name = {
            value.name: insert_probe(probed.graph, value, slots, fmt.bits)[0] for value, slots in consumers.items()
        }
        probes = {name: by_name[name] for name in names}
        run = runner(probed, optimized=not is_partly_quantized(model))
        return cls(run, probes, feeds, tuple(probed_outputs(run, feed, probes, {}) for feed in feeds))

    @property
    def enough(self) -> int:
        """The number of feeds whose outputs have `ENOUGH` elements together; all feeds where they have fewer."""
        sizes = np.cumsum([sum(output.size for output in outputs) for outputs in self.expected])
        return min(int(np.searchsorted(sizes, ENOUGH)) + 1, len(self.feeds))

    def noise(self, steps: Mapping[str, RoundingStep], feeds: int) -> NDArray[np.float64]:
        """Return the squared errors of the outputs in the first ``feeds``, [F, O], with rounding by ``steps``."""
        outputs = (probed_outputs(self.run, feed, self.probes, steps) for feed in self.feeds[:feeds])
        pairs = zip(outputs, self.expected[:feeds], strict=True)
        return np.array([[_squared_error(y, z) for y, z in zip(*pair, strict=True)] for pair in pairs])


def _has_quantized_data(linear: Linear) -> bool:
    stats = statistics(linear.data)
    calibrated = stats is not None and len(stats.minimum) == linear.inputs
    return calibrated and is_quantized(linear) and linear.data.dtype == ir.DataType.FLOAT


def insert_probe(graph: ir.Graph, value: ir.Value, consumers: Sequence[Slot], bits: int) -> tuple[Probe, ir.Value]:
    """Give ``consumers`` the rounded ``value``, as three new inputs of the graph say; return it too."""
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
    owner = value.graph
    assert isinstance(owner, ir.Graph)
    insert_behind(owner, value, [switch])
    for node, position in consumers:
        node.replace_input_with(position, switch.outputs[0])
    return probe, switch.outputs[0]


def _branch(graph: ir.Graph, name: str, *ops: tuple[str, Sequence[ir.Value]]) -> ir.Graph:
    """Return a graph of nodes, each of which reads the output of the one before it, then its own operands.

    Their outputs have new names: in a branch, a name from outside would hide the value that is read.
    """
    nodes: list[ir.Node] = []
    for count, (op_type, operands) in enumerate(ops):
        nodes.append(ir.node(op_type, [*(nodes[-1].outputs if nodes else ()), *operands]))
        nodes[-1].outputs[0].name = fresh_name(graph, f"{name}.{count}")
    return ir.Graph([], nodes[-1].outputs, nodes=nodes, name=name)


def probed_outputs(
    run: Run, feed: Feed, probes: Mapping[str, Probe], steps: Mapping[str, RoundingStep]
) -> list[NDArray[np.float64]]:
    """Return the float outputs, with the values in ``steps`` rounded."""
    neutral = RoundingStep(np.ones(1, np.float32), np.zeros(1, np.float32))
    switches = {probe.on: np.array(name in steps) for name, probe in probes.items()}
    sizes = {probe.step: steps.get(name, neutral).step for name, probe in probes.items()}
    shifts = {probe.shift: steps.get(name, neutral).shift for name, probe in probes.items()}
    outputs = run({**feed, **switches, **sizes, **shifts})
    return [numbers(output) for output in outputs if holds_floats(output)]


def _squared_error(y: NDArray[np.float64], z: NDArray[np.float64]) -> float:
    """Return ‖y - z‖² over what is finite, or infinity where the rounding decides on the shape or on what is finite."""
    if y.shape != z.shape or not np.array_equal(np.isfinite(y), np.isfinite(z)):
        return float("inf")
    finite = np.isfinite(y)
    return float(np.square(y[finite] - z[finite]).sum())
