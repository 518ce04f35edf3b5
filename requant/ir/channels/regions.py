"""Regions: linear layers, the linear layers that read them, and what treats channels alone in between.

    X = f(A₁ W₁ + b₁, A₂ W₂ + b₂, …)        Y₁ = X V₁,  Y₂ = X V₂,  …

where channel c of X depends on channel c of each argument of f alone. So channels can be reordered and repeated, as
long as all that takes part does the same.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

import onnx_ir as ir

from ..constants import array, is_constant
from ..linear import Linear, as_linear
from ..norms import Slot

_ONNX = """
    Abs Add Cast Celu Clip Cos Div Dropout Elu Erf Exp Gelu HardSigmoid HardSwish Identity LeakyRelu Log Max Mean Min
    Mish Mul Neg PRelu Pow Reciprocal Relu Selu Sigmoid Sin Softplus Softsign Sqrt Sub Sum Swish Tanh ThresholdedRelu
    Where
"""
_OPS: dict[str, frozenset[str]] = {
    "": frozenset(_ONNX.split()),
    "com.microsoft": frozenset({"BiasGelu", "FastGelu", "Gelu", "QuickGelu"}),
}
"""By domain, the ops whose inputs all broadcast against their outputs, each element of which depends on no other."""


@dataclass(frozen=True)
class PerChannel:
    """An input that takes a constant with a value for each channel along ``axis``, counted from the end."""

    slot: Slot
    axis: int


@dataclass(frozen=True)
class Region:
    """Values that hold the same C channels along the same axis, and all that makes, uses and reads them.

    ``producers`` compute C outputs, ``consumers`` contract C inputs, and nobody else sees a channel or shares their
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
class _Walk:
    axis: int
    channels: int
    producers: dict[ir.Node, Linear] = field(default_factory=dict)
    consumers: dict[ir.Node, Linear] = field(default_factory=dict)
    between: set[ir.Node] = field(default_factory=set)
    constants: dict[Slot, int] = field(default_factory=dict)


class _RefusalError(Exception):
    """There is no region; the text says why."""


def find_region(data: ir.Value) -> Region | str:
    """The region of ``data``, a value that linear layers read; or the reason why it is in none.

    Takes time linear in the size of the region; reads no weights.
    """
    consumer = next((linear for node, position in data.uses() if position == 0 and (linear := as_linear(node))), None)
    if consumer is None:
        return f"no linear layer reads {data.name!r}"
    walk, values, queue = _Walk(_axis(consumer), consumer.inputs), {data}, [data]
    try:
        for value in queue:
            fresh = [other for other in dict.fromkeys(_neighbours(value, walk)) if other not in values]
            values.update(fresh)
            queue.extend(fresh)
        _require_own_weights(walk)
    except _RefusalError as refusal:
        return str(refusal)
    constants = tuple(PerChannel(slot, axis) for slot, axis in walk.constants.items())
    consumers = tuple(walk.consumers.values())
    return Region(tuple(walk.producers.values()), tuple(queue), constants, consumers, walk.channels, walk.axis)


def _neighbours(value: ir.Value, walk: _Walk) -> Iterator[ir.Value]:
    """The values that must have the channels of ``value``: what makes it and what is made of it."""
    maker = value.producer()
    if value.is_graph_output():
        raise _RefusalError(f"{value.name!r} is an output of the graph")
    if maker is None:
        raise _RefusalError(f"no linear layer makes {value.name!r}")
    if linear := as_linear(maker):
        _require_fit(linear, linear.outputs, walk)
        walk.producers[maker] = linear
        if linear.bias is not None and linear.bias[0] is maker:
            _note_constant(linear.bias, -1, walk)
    else:
        yield from _across(maker, f"{value.name!r} is made by", walk)
    for node, position in value.uses():
        if node.graph is not maker.graph:
            raise _RefusalError(f"{value.name!r} is read inside the body of another node")
        if position == 0 and (linear := as_linear(node)):
            _require_fit(linear, linear.inputs, walk)
            walk.consumers[node] = linear
        else:
            yield from _across(node, f"{value.name!r} is read by", walk)


def _across(node: ir.Node, role: str, walk: _Walk) -> Iterator[ir.Value]:
    """The values at ``node`` that have channels; its constants are noted."""
    if node.op_type not in _OPS.get(node.domain, ()):
        raise _RefusalError(f"{role} {node.op_type}, which does not treat channels alone")
    if node.op_type == "Dropout" and _may_drop(node):
        raise _RefusalError(f"{role} Dropout in training mode")
    if node in walk.between:
        return
    walk.between.add(node)
    for position, operand in enumerate(node.inputs):
        if operand is None:
            continue
        if is_constant(operand):
            _note_constant((node, position), walk.axis, walk)
        elif walk.channels == 1 or _width(operand, walk.axis) != 1:  # what has one for all stays as it is
            yield operand
    yield from node.outputs


def _note_constant(slot: Slot, axis: int, walk: _Walk) -> None:
    value = slot[0].inputs[slot[1]]
    assert value is not None
    width = _width(value, axis)
    if width == walk.channels:
        walk.constants[slot] = axis
    elif width != 1:
        raise _RefusalError(f"{value.name!r} has {width} channels instead of {walk.channels}")


def _require_fit(linear: Linear, channels: int, walk: _Walk) -> None:
    dtype = linear.weight.const_value.dtype if linear.weight.const_value is not None else None
    if dtype is None or not dtype.is_floating_point():
        raise _RefusalError(f"{linear.name!r} computes in integers")
    if linear.groups > 1:
        raise _RefusalError(f"{linear.name!r} works in groups of channels")
    if _axis(linear) != walk.axis:
        raise _RefusalError(f"{linear.name!r} has its channels along another axis")
    if channels != walk.channels:
        raise _RefusalError(f"{linear.name!r} has {channels} channels instead of {walk.channels}")


def _require_own_weights(walk: _Walk) -> None:
    """Whoever reads a weight must take part, and in the same way."""
    linears, seen = walk.producers | walk.consumers, dict[ir.Value, tuple[int | None, int | None]]()
    for node, linear in linears.items():
        axes = (linear.out_axis if node in walk.producers else None, linear.in_axis if node in walk.consumers else None)
        if seen.setdefault(linear.weight, axes) != axes:
            raise _RefusalError(f"weight {linear.weight.name!r} is used in two ways")
    for weight in seen:
        strangers = [use.node for use in weight.uses() if use.node not in linears or use.idx != 1]
        if strangers:
            raise _RefusalError(f"weight {weight.name!r} is also read by {strangers[0].name or strangers[0].op_type!r}")
        if weight.is_graph_output():
            raise _RefusalError(f"weight {weight.name!r} is an output of the graph")


def _axis(linear: Linear) -> int:
    """The channel axis of what ``linear`` reads and makes, counted from the end, as broadcasting does."""
    return -1 if linear.data_axis == -1 else linear.data_axis - len(linear.shape)


def _width(value: ir.Value, axis: int) -> int | None:
    """How long ``axis`` is; 1 where broadcasting would add it, None where that is not known."""
    shape = value.shape if value.const_value is None else value.const_value.shape
    if shape is None:
        return None
    size = shape[axis] if len(shape) >= -axis else 1
    return size if isinstance(size, int) else None


def _may_drop(node: ir.Node) -> bool:
    mode = node.inputs[2] if len(node.inputs) > 2 else None
    training = array(mode)
    return mode is not None and (training is None or bool(training.any()))
