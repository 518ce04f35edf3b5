"""Folding of constant factors behind a linear layer into its weight and bias, also behind ops that move elements.

    s · T(x W + b) = T(x (W s) + b s)        T: Reshape, Transpose, Split, …        s: a number, or one for each channel
    s · (q kᵀ) = (s q) kᵀ                    q = T(x W + b)

PyTorch multiplies both Q and K by d^-¼, other exporters the scores by d^-½; LayerScale has a factor for each channel.
"""

import logging
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from ..channels.blocked import BlockedError
from ..channels.layout import is_movement, last_axis, move
from ..channels.reshape import ChannelMap
from ..constants import constant, constant_shape, is_constant, lazily
from ..linear import Linear, as_linear, find_linears
from ..names import fresh_name
from ..ops import JOINING, MULTIPLICATIVE, SIZES, is_op
from ..refusal import declined
from ..transform.edit import cast_like, graph_of, read_constant, replace_constant
from ..traverse import Slot, consumers, sole_use
from .affine_ops import AFFINE, SPAN, Vector, data_position, scalar_affine

_LOGGER = logging.getLogger(__name__)

_PRODUCT = frozenset({"MatMul"})


@dataclass(frozen=True)
class _Factor:
    """A ``node`` that multiplies ``channels`` of the output of a layer by constants: all channels by ``scale`` [N]."""

    node: ir.Node
    channels: ChannelMap
    scale: Vector


class FoldFactors(ir.passes.InPlacePass):
    """Fold each constant factor of the output of a linear layer into the layer, if it alone reads these channels."""

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        modified = False
        for node in [linear.node for linear in find_linears(model.graph)]:
            while (linear := as_linear(node)) is not None and (factor := _foldable(linear)) is not None:
                _fold(linear, factor)
                modified = True
        return ir.passes.PassResult(model, modified)


def _foldable(linear: Linear) -> _Factor | None:
    """Return the first factor that ``linear`` can absorb, or None."""
    value, weight = linear.output, linear.weight.const_value
    if value.shape is None or weight is None or not weight.dtype.is_floating_point():
        return None
    if not any(_is_multiplied(node) for node, _ in consumers(value, is_movement)):
        return None  # channels need not be followed
    channels = np.moveaxis(last_axis(linear.outputs, len(value.shape)), -1, linear.data_axis)
    ends = list(_ends(value, channels))
    for slot, reached in ends:
        factor = _factor(slot, reached, linear.outputs) if slot is not None else None
        if factor is None:
            continue
        others = [other for end, other in ends if end != slot]
        if reason := _blocked(linear, factor, others):
            declined(_LOGGER, factor.node, reason)
        else:
            return factor
    return None


def _ends(value: ir.Value, channels: ChannelMap) -> Iterator[tuple[Slot | None, ChannelMap]]:
    """Yield the inputs that read ``channels`` behind ops that move them, with those that they read.

    None stands for what is outside of the graph.
    """
    if value.is_graph_output():
        yield None, channels
    for node, position in value.uses():
        if is_op(node, SIZES):
            continue
        moved = _moved(node, channels) if node.graph is value.graph and position == 0 else None
        if moved is None:
            yield (node, position), channels
        else:
            for output, part in zip(node.outputs, moved, strict=False):
                yield from _ends(output, part)


def _moved(node: ir.Node, channels: ChannelMap) -> list[ChannelMap] | None:
    """Return the channels of the outputs of ``node``; None where it does not only move those of its first input."""
    if not is_movement(node) or is_op(node, JOINING):
        return None
    try:
        return move(node, [channels])
    except BlockedError:
        return None


def _is_multiplied(node: ir.Node) -> bool:
    """Tell whether ``node``, or the only one behind a MatMul, multiplies: whether it may be a factor."""
    use = sole_use(node.outputs[0]) if is_op(node, _PRODUCT) else (node, 0)
    return use is not None and is_op(use[0], MULTIPLICATIVE)


def _factor(slot: Slot, channels: ChannelMap, outputs: int) -> _Factor | None:
    """Return the constant factor of what is read at ``slot``, or of its product with another computed value."""
    node, position = slot
    if is_op(node, _PRODUCT) and not any(map(is_constant, node.inputs)):
        use = sole_use(node.outputs[0])
        affine = scalar_affine(use[0]) if use is not None and is_op(use[0], MULTIPLICATIVE) else None
        return None if use is None or affine is None else _spread(use[0], np.asarray(affine[0]), channels, outputs)
    if not is_op(node, MULTIPLICATIVE) or (node.op_type, position) not in AFFINE:
        return None
    operand = node.inputs[1 - position]
    if not is_constant(operand) or not _fits(constant_shape(operand), channels.shape):
        return None
    divisor = read_constant(operand)
    if node.op_type == "Div" and not divisor.all():
        return None
    return _spread(node, np.asarray(AFFINE[node.op_type, position](divisor)[0]), channels, outputs)


def _fits(shape: tuple[int, ...], channels: tuple[int, ...]) -> bool:
    """Tell whether a constant of that shape varies only along the axes along which the channels do."""
    rank = len(shape)
    return rank <= len(channels) and all(
        size in (1, axis) for size, axis in zip(shape, channels[len(channels) - rank :], strict=True)
    )


def _spread(node: ir.Node, factors: Vector, channels: ChannelMap, outputs: int) -> _Factor | None:
    """Return a factor for each channel; None where one channel has several."""
    scale = np.ones(outputs)
    places, values = np.broadcast_arrays(channels, factors)
    scale[places.ravel()] = values.ravel()
    return _Factor(node, channels, scale) if np.array_equal(scale[places], values) else None


def _blocked(linear: Linear, factor: _Factor, others: list[ChannelMap]) -> str | None:
    """Give the reason why ``linear`` cannot absorb ``factor``, or None; ``others`` are channels read elsewhere."""
    size = np.abs(factor.scale)
    if not np.all((size >= 1 / SPAN) & (size <= SPAN)):
        return "its factor would make weights of the layer before it too small or too large for half precision"
    if any(np.intersect1d(factor.channels, other).size for other in others):
        return f"{linear.output.name!r} has other consumers"
    if len(linear.weight.uses()) > 1 or linear.weight.is_graph_output():
        return f"the weight of {linear.name!r} has other consumers"
    return None


def _fold(linear: Linear, factor: _Factor) -> None:
    """Multiply weight and bias of ``linear``, the weight when it is read, and remove the factor."""
    tensor, name = linear.weight.const_value, linear.weight.name
    assert tensor is not None
    axes = [-1 if axis == linear.out_axis else 1 for axis in range(len(linear.shape))]
    dtype = np.promote_types(tensor.dtype.numpy(), np.float32)
    scale = factor.scale.astype(dtype).reshape(axes)
    weight = lazily(lambda data: data.astype(dtype, copy=False) * scale, tensor)
    linear.node.replace_input_with(1, constant(graph_of(linear.node), weight, f"{name}.folded"))
    if linear.bias is not None:
        owner, position = linear.bias
        bias = owner.inputs[position]
        product = cast_like(bias, read_constant(bias) * factor.scale)
        replace_constant(linear.bias, product, f"{bias.name if bias is not None else name}.folded")
    _remove(factor.node, linear.output)


def _remove(node: ir.Node, output: ir.Value) -> None:
    """Remove the factor; ``output``, that of the layer, is another value than in the file and gets another name."""
    data, product = node.inputs[data_position(node)], node.outputs[0]
    assert data is not None
    name, graph = product.name, graph_of(node)
    ir.convenience.replace_all_uses_with(product, data, replace_graph_outputs=True)
    graph.remove(node, safe=True)
    if output is not data:
        output.name = fresh_name(graph, f"{output.name}.scaled")
    data.name = name
