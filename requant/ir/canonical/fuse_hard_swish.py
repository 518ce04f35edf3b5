"""Fusion of the piecewise linear activations that exporters spell out.

    min(max(α x + β, 0), 1) = HardSigmoid(x; α, β)        x · HardSigmoid(x; 1/6, 1/2) = HardSwish(x)

A chain of arithmetic and bounds by numbers is one ramp, min(max(a x + b, low), high), in whatever order it is written.
As one op each is one pass over the data, or none: engines have Convs that compute it on their output.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from math import inf, isclose

import onnx_ir as ir
from onnx_ir.convenience import replace_nodes_and_values
from onnx_ir.passes.common import RemoveUnusedNodesPass

from ..constants import is_constant
from ..ops import ARITHMETIC, EXTREMA, is_op
from ..refusal import declined
from ..traverse import graphs_within, sole_use
from .affine_ops import data_position, number_at, scalar_affine

_LOGGER = logging.getLogger(__name__)

_ROUNDING = 1e-6
"""The relative deviation of a constant that is a rounding: exporters write 1/6 with 7 digits."""


@dataclass(frozen=True)
class Ramp:
    """The function min(max(slope · x + offset, low), high), with a slope other than 0."""

    slope: float = 1.0
    offset: float = 0.0
    low: float = -inf
    high: float = inf

    def of(self, inner: "Ramp") -> "Ramp":
        """Compose: the ramp of the ``inner`` one's output."""
        ends = (self._clipped(self.slope * end + self.offset) for end in (inner.low, inner.high))
        low, high = sorted(ends)
        return Ramp(self.slope * inner.slope, self.slope * inner.offset + self.offset, low, high)

    def scaled(self, factor: float) -> "Ramp":
        """Multiply the output by ``factor``."""
        return Ramp(factor).of(self)

    @property
    def is_scale(self) -> bool:
        """True where it is x times a number."""
        return (self.offset, self.low, self.high) == (0.0, -inf, inf)

    @property
    def is_hard_sigmoid(self) -> bool:
        """True where HardSigmoid computes it, and rounds no more: its offset is not large beside its output."""
        rises = self.slope > 0 and _equal(self.low, 0.0) and _equal(self.high, 1.0)
        return rises and abs(self.offset) <= 1 and (self.slope, self.offset) != (1.0, 0.0)

    @property
    def is_hard_swish_gate(self) -> bool:
        """True where it is HardSigmoid(x; 1/6, 1/2)."""
        return self.is_hard_sigmoid and _equal(self.slope, 1 / 6) and _equal(self.offset, 0.5)

    def _clipped(self, number: float) -> float:
        return min(max(number, self.low), self.high)


class FuseHardSwish(ir.passes.InPlacePass):
    """Fuse what computes a HardSigmoid or a HardSwish in each graph into one node, where nothing else reads a part."""

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        graphs = [graph for graph in graphs_within(model.graph) if any(is_op(node, _BOUNDS) for node in graph)]
        modified = [_fuse(graph, node) for graph in graphs for node in graph]
        if any(modified):
            RemoveUnusedNodesPass()(model)  # parts would still count as consumers
        return ir.passes.PassResult(model, any(modified))


def _fuse(graph: ir.Graph, node: ir.Node) -> bool:
    if node.domain != "" or len(node.outputs) != 1 or node.outputs[0].dtype != ir.DataType.FLOAT:
        return False  # ONNX Runtime's CPU has no HardSigmoid in other types
    fused = _hard_sigmoid(node) or _hard_swish(node)
    if fused is None:
        return False
    fused.name = node.name
    replace_nodes_and_values(graph, node, [node], [fused], node.outputs, fused.outputs)
    return True


def _hard_sigmoid(node: ir.Node) -> ir.Node | None:
    last = _ramp_of(node)
    if last is None:
        return None
    x, before = _follow(node.inputs[data_position(node)])
    ramp = last.of(before)
    if not ramp.is_hard_sigmoid or (node.op_type == "HardSigmoid" and before == Ramp()):
        return None
    return ir.node("HardSigmoid", [x], {"alpha": ramp.slope, "beta": ramp.offset})


def _hard_swish(node: ir.Node) -> ir.Node | None:
    """Match k · (a x) · ramp(x), where k may be 1, and a k · ramp is the gate of a HardSwish."""
    scale = _ramp_of(node)
    if scale is None:
        return _product(node, 1.0)
    value, before = _follow(node.inputs[data_position(node)])
    scale, product = scale.of(before), value.producer()
    is_scaled = scale.is_scale and product is not None and sole_use(value) is not None
    return _product(product, scale.slope) if is_scaled and product is not None else None


def _product(node: ir.Node, factor: float) -> ir.Node | None:
    """Match the product of a x and the gate of a HardSwish over ``factor`` · a."""
    if not is_op(node, frozenset({"Mul"})) or any(value is None or is_constant(value) for value in node.inputs):
        return None
    factors = [_follow(value) for value in node.inputs]
    for (x, scale), (source, gate) in (factors, factors[::-1]):
        if x is source and scale.is_scale and gate.low == 0 < gate.high < inf:
            if gate.scaled(scale.slope * factor).is_hard_swish_gate:
                return ir.node("HardSwish", [x])
            if not gate.scaled(1 / gate.high).is_hard_swish_gate:
                declined(_LOGGER, node, f"the gate is no HardSigmoid of {x.name!r} with alpha 1/6 and beta 1/2")
        elif scale.is_scale and _is_bounded(source.producer()) and gate == Ramp():
            declined(_LOGGER, node, f"{source.name!r} has other consumers")
    return None


def _is_bounded(node: ir.Node | None) -> bool:
    ramp = _ramp_of(node) if node is not None else None
    return ramp is not None and ramp.low > -inf and ramp.high < inf


def _follow(value: ir.Value | None) -> tuple[ir.Value, Ramp]:
    """Return the value that ``value`` is a ramp of, and the ramp; nothing else reads what is in between."""
    assert value is not None
    ramp = Ramp()
    while sole_use(value) is not None and (node := value.producer()) is not None and (last := _ramp_of(node)):
        ramp, data = ramp.of(last), node.inputs[data_position(node)]
        assert data is not None
        value = data
    return value, ramp


def _ramp_of(node: ir.Node) -> Ramp | None:
    """Return the ramp that ``node`` computes, or None."""
    view = _RAMPS.get(node.op_type) if node.domain == "" else None
    return view(node) if view is not None else None


def _arithmetic(node: ir.Node) -> Ramp | None:
    affine = scalar_affine(node)
    return None if affine is None else Ramp(*affine)


def _extremum(node: ir.Node) -> Ramp | None:
    number = number_at(node, 1 - data_position(node)) if len(node.inputs) == 2 else None
    if number is None:
        return None
    return Ramp(low=number) if node.op_type == "Max" else Ramp(high=number)


def _clip(node: ir.Node) -> Ramp | None:
    bounds = list[float]()
    for position, default in ((1, -inf), (2, inf)):
        is_absent = len(node.inputs) <= position or node.inputs[position] is None
        number = default if is_absent else number_at(node, position)
        if number is None:
            return None
        bounds.append(number)
    low, high = bounds
    return Ramp(low=low, high=high) if low <= high else None


def _native(node: ir.Node) -> Ramp | None:
    attributes = node.attributes
    slope = attributes.get_float("alpha", 0.2)
    return Ramp(slope, attributes.get_float("beta", 0.5), 0.0, 1.0) if slope else None


_RAMPS: dict[str, Callable[[ir.Node], Ramp | None]] = {
    **dict.fromkeys(ARITHMETIC, _arithmetic),
    **dict.fromkeys(EXTREMA, _extremum),
    "Clip": _clip,
    "HardSigmoid": _native,
    "Relu": lambda node: Ramp(low=0.0),
}
"""By op, the function that returns the ramp that a node of it computes of its data."""

_BOUNDS = frozenset(_RAMPS) - ARITHMETIC
"""Ops without which no graph has a HardSigmoid."""


def _equal(number: float, reference: float) -> bool:
    return isclose(number, reference, rel_tol=_ROUNDING, abs_tol=0.0 if reference else _ROUNDING)
