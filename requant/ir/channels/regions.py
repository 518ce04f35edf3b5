"""Regions: linear layers, the linear layers that read them, and elementwise ops in between.

    X = f(A₁ W₁ + b₁, A₂ W₂ + b₂, …)        Y₁ = X V₁,  Y₂ = X V₂,  …

where channel c of X depends on channel c of each argument of f alone. So channels can be reordered and repeated, as
long as all layers and ops of the region do the same.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

import onnx_ir as ir

from ..constants import array, is_constant
from ..linear import Linear, as_linear
from ..ops import ACTIVATIONS, ARITHMETIC, CONVERSIONS, GELUS, IDENTITIES, MATH, POWERS, ROUNDING, VARIADIC
from ..refusal import Refusal
from ..traverse import Slot, reachable
from .blocked import BlockedError

_ELEMENTWISE: dict[str, frozenset[str]] = {
    "": ACTIVATIONS | ARITHMETIC | VARIADIC | (MATH - ROUNDING) | POWERS | IDENTITIES | CONVERSIONS | {"Where"},
    "com.microsoft": GELUS,  # ONNX Runtime's own
}
"""By domain, the ops whose inputs all broadcast against their outputs, each element of which depends on no other.

`ROUNDING` is left out, though it holds there too: no network has it between layers.
"""


@dataclass(frozen=True)
class PerChannel:
    """An input that takes a constant with a value for each channel along ``axis``, counted from the end."""

    slot: Slot
    axis: int


@dataclass(frozen=True)
class Region:
    """Values that hold the same C channels along the same axis, and all that produces, uses and consumes them.

    ``producers`` compute C outputs, ``consumers`` contract C inputs, and no other node reads a channel or shares their
    weights. A layer may be both. ``values`` begins with the one that `find_region` was asked about; their channels lie
    along ``axis``, counted from the end. ``constants`` are biases and what is added, multiplied and so on in between.
    """

    producers: tuple[Linear, ...]
    values: tuple[ir.Value, ...]
    constants: tuple[PerChannel, ...]
    consumers: tuple[Linear, ...]
    channels: int
    axis: int

    @property
    def name(self) -> str:
        """The value that `find_region` was asked about."""
        return self.values[0].name or "?"


@dataclass
class _RegionParts:
    axis: int
    channels: int
    producers: dict[ir.Node, Linear] = field(default_factory=dict)
    consumers: dict[ir.Node, Linear] = field(default_factory=dict)
    elementwise: set[ir.Node] = field(default_factory=set)
    constants: dict[Slot, int] = field(default_factory=dict)


def find_region(data: ir.Value) -> Region | Refusal:
    """Find the region of ``data``, a value that linear layers read, or say why it is in none.

    Takes time linear in the size of the region; reads no weights.
    """
    consumer = next((linear for node, position in data.uses() if position == 0 and (linear := as_linear(node))), None)
    if consumer is None:
        return Refusal("Region", data.name or "?", f"no linear layer reads {data.name!r}")
    parts = _RegionParts(_axis(consumer), consumer.inputs)
    try:
        values = tuple(reachable([data], lambda value: _neighbours(value, parts)))
        _require_exclusive_weights(parts)
    except BlockedError as error:
        return Refusal("Region", data.name or "?", str(error))
    constants = tuple(PerChannel(slot, axis) for slot, axis in parts.constants.items())
    consumers = tuple(parts.consumers.values())
    return Region(tuple(parts.producers.values()), values, constants, consumers, parts.channels, parts.axis)


def _neighbours(value: ir.Value, parts: _RegionParts) -> Iterator[ir.Value]:
    """Yield the values that must have the channels of ``value``: what it is computed from, and what from it."""
    producer = value.producer()
    if value.is_graph_output():
        raise BlockedError(value, "is an output of the graph")
    if producer is None:
        raise BlockedError(value, "is not computed by any layer")
    if linear := as_linear(producer):
        _require_fit(linear, linear.outputs, parts)
        parts.producers[producer] = linear
        if linear.bias is not None and linear.bias[0] is producer:
            _add_constant(linear.bias, -1, parts)
    else:
        yield from _across(producer, value, "is computed by", parts)
    for node, position in value.uses():
        if node.graph is not producer.graph:
            raise BlockedError(value, "is read inside a subgraph")
        if position == 0 and (linear := as_linear(node)):
            _require_fit(linear, linear.inputs, parts)
            parts.consumers[node] = linear
        else:
            yield from _across(node, value, "is read by", parts)


def _across(node: ir.Node, value: ir.Value, role: str, parts: _RegionParts) -> Iterator[ir.Value]:
    """Yield the values at ``node``, a neighbour of ``value``, that have channels; note its constants."""
    if node.op_type not in _ELEMENTWISE.get(node.domain, ()):
        raise BlockedError(value, f"{role} {node.op_type}, which is not elementwise")
    if node.op_type == "Dropout" and _may_drop(node):
        raise BlockedError(value, f"{role} Dropout in training mode")
    if node in parts.elementwise:
        return
    parts.elementwise.add(node)
    for position, operand in enumerate(node.inputs):
        if operand is None:
            continue
        if is_constant(operand):
            _add_constant((node, position), parts.axis, parts)
        elif parts.channels == 1 or _width(operand, parts.axis) != 1:  # one value for all channels stays as it is
            yield operand
    yield from node.outputs


def _add_constant(slot: Slot, axis: int, parts: _RegionParts) -> None:
    value = slot[0].inputs[slot[1]]
    assert value is not None
    width = _width(value, axis)
    if width == parts.channels:
        parts.constants[slot] = axis
    elif width != 1:
        raise BlockedError(value, f"has {width} channels instead of {parts.channels}")


def _require_fit(linear: Linear, channels: int, parts: _RegionParts) -> None:
    dtype = linear.weight.const_value.dtype if linear.weight.const_value is not None else None
    if dtype is None or not dtype.is_floating_point():
        raise BlockedError(linear.node, "computes in integers")
    if linear.groups > 1:
        raise BlockedError(linear.node, "is a grouped convolution")
    if _axis(linear) != parts.axis:
        raise BlockedError(linear.node, "has its channels along another axis")
    if channels != parts.channels:
        raise BlockedError(linear.node, f"has {channels} channels instead of {parts.channels}")


def _require_exclusive_weights(parts: _RegionParts) -> None:
    """Require that all nodes that read a weight take part, and in the same way."""
    linears, axes_of = parts.producers | parts.consumers, dict[ir.Value, tuple[int | None, int | None]]()
    for node, linear in linears.items():
        axes = (
            linear.out_axis if node in parts.producers else None,
            linear.in_axis if node in parts.consumers else None,
        )
        if axes_of.setdefault(linear.weight, axes) != axes:
            raise BlockedError(linear.weight, "is a weight that is used in two ways")
    for weight in axes_of:
        other_users = [use.node for use in weight.uses() if use.node not in linears or use.idx != 1]
        if other_users:
            name = other_users[0].name or other_users[0].op_type
            raise BlockedError(weight, f"is a weight that {name!r} reads too")
        if weight.is_graph_output():
            raise BlockedError(weight, "is a weight and an output of the graph")


def _axis(linear: Linear) -> int:
    """Return the channel axis of the input and output of ``linear``, counted from the end, as broadcasting does."""
    return -1 if linear.data_axis == -1 else linear.data_axis - len(linear.shape)


def _width(value: ir.Value, axis: int) -> int | None:
    """Return the length of ``axis``; 1 where broadcasting would add it, None where it is unknown."""
    shape = value.shape if value.const_value is None else value.const_value.shape
    if shape is None:
        return None
    size = shape[axis] if len(shape) >= -axis else 1
    return size if isinstance(size, int) else None


def _may_drop(node: ir.Node) -> bool:
    mode = node.inputs[2] if len(node.inputs) > 2 else None
    training = array(mode)
    return mode is not None and (training is None or bool(training.any()))
