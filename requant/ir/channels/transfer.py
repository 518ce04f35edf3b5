"""The transfer functions of ops that compute, beside those that only move elements.

    f(x / d) = f(x) / d              positively homogeneous: ReLU and its kin, products with an independent factor
    f((x - t) / d) = (f(x) - t) / d  averages: pooling, and P V with rows of P that sum to 1 (`attention`)

A transfer function returns the channels of the output and adds to the state's constraints.
"""

from dataclasses import replace

import numpy as np
import onnx_ir as ir

from ..constants import array, is_constant
from ..ops import ADDITIVE, ATTENTION, EXTREME_REDUCTIONS, LINEAR_REDUCTIONS, POOLING, RESAMPLING, SIGN_FREE
from .attention import attention, matmul, rotary
from .blocked import NO_SHIFT, BlockedError, title
from .channel_values import AnalysisState, ChannelValue, ChannelValues, TransferFunction, align_rank, expect
from .constraints import variables_of
from .reshape import ChannelMap


def commutes(node: ir.Node, position: int) -> bool:
    """Tell whether ``node`` may pass a transform on from that input."""
    entry = _TRANSFER_FUNCTIONS.get((node.domain, node.op_type))
    return entry is not None and position in entry[0]


def contracts(node: ir.Node, position: int) -> bool:
    """Tell whether that input may be one side of Q Kᵀ, so that what becomes of the output does not matter."""
    return node.op_type == "MatMul" or (node.op_type in ATTENTION and position < 2)


def transfer(node: ir.Node, inputs: ChannelValues, state: AnalysisState) -> ChannelValue | None:
    """Return the channels of the first output of ``node``; None when the transform ends in the node, absorbed.

    Raises:
        BlockedError: the node needs the inputs that have channels as they are.
    """
    positions, function = _TRANSFER_FUNCTIONS[node.domain, node.op_type]
    if any(data is not None and position not in positions for position, data in enumerate(inputs)):
        raise BlockedError(node, "is not linear in that input")
    if function not in (matmul, attention) and node.outputs[0] not in state.absorbing:
        raise BlockedError(node, "has a consumer that cannot absorb the transform")
    try:
        return function(node, inputs, state)
    except (IndexError, ValueError) as error:
        raise BlockedError(node, "has parameters that do not fit its input") from error


def _homogeneous(node: ir.Node, inputs: ChannelValues, state: AnalysisState) -> ChannelValue:
    data = expect(inputs[0])
    state.constraints.no_shift(data.channels, f"{title(node)} {NO_SHIFT}")
    return data


def _clip(node: ir.Node, inputs: ChannelValues, state: AnalysisState) -> ChannelValue:
    low, high = (array(value) for value in (*node.inputs[1:3], None, None)[:2])
    if len(node.inputs) > 1 and node.inputs[1] is not None and low is None:
        raise BlockedError(node, "has bounds that are computed at run time")
    if high is not None or low is None or low.any() or any(node.inputs[2:]):
        raise BlockedError(node, "has a bound other than 0")
    return _homogeneous(node, inputs, state)


def _pool(node: ir.Node, inputs: ChannelValues, state: AnalysisState) -> ChannelValue:
    """Pool or resize within channels: along the axes from 2 on."""
    data = expect(inputs[0])
    if any(size > 1 for size in data.channels.shape[2:]):
        raise BlockedError(node, "mixes channels")
    attributes = node.attributes
    padded = any(attributes.get_ints("pads", ())) or attributes.get_string("auto_pad", "").startswith("SAME")
    if padded and attributes.get_int("count_include_pad", 0) != 0:
        state.constraints.no_shift(data.channels, f"{title(node)} includes the zeros of its padding")
    return data


def _resize(node: ir.Node, inputs: ChannelValues, state: AnalysisState) -> ChannelValue:
    if node.attributes.get_string("coordinate_transformation_mode", "") == "tf_crop_and_resize":
        raise BlockedError(node, "extrapolates with a constant")
    return _pool(node, inputs, state)


def _reduce(node: ir.Node, inputs: ChannelValues, state: AnalysisState) -> ChannelValue:
    data = expect(inputs[0])
    axes = array(node.inputs[1]) if len(node.inputs) > 1 else node.attributes.get_ints("axes", None)
    if axes is None:
        raise BlockedError(node, "reduces over all axes or over axes that are computed at run time")
    positions = tuple(int(axis) % data.channels.ndim for axis in np.ravel(axes))
    if any(data.channels.shape[axis] > 1 for axis in positions):
        raise BlockedError(node, "reduces over the channels")
    if node.op_type == "ReduceSum":
        state.constraints.no_shift(data.channels, f"{title(node)} sums the shift")
    if node.attributes.get_int("keepdims", 1):
        return data
    return replace(data, channels=data.channels.squeeze(positions))


def _pad(node: ir.Node, inputs: ChannelValues, state: AnalysisState) -> ChannelValue:
    data, amounts = expect(inputs[0]), array(node.inputs[1])
    fill = node.inputs[2] if len(node.inputs) > 2 else None
    fill_value = array(fill)
    if fill is not None and (fill_value is None or fill_value.any()):
        raise BlockedError(node, "pads with values other than zero")
    sizes = [(_size(node.inputs[0], axis), _size(node.outputs[0], axis)) for axis in _channel_axes(data)]
    if any(before is None or before != after for before, after in sizes):
        raise BlockedError(node, "pads the channel axis")
    constant = node.attributes.get_string("mode", "constant") == "constant"
    if constant and (amounts is None or amounts.any()):
        state.constraints.no_shift(data.channels, f"{title(node)} pads with zeros")
    return data


def _channel_axes(data: ChannelValue) -> list[int]:
    """List the axes along which channels change."""
    return [axis for axis, size in enumerate(data.channels.shape) if size > 1]


def _size(value: ir.Value | None, axis: int) -> int | None:
    """Return the size of ``value`` along ``axis`` if that is static."""
    size = value.shape[axis] if value is not None and value.shape is not None else None
    return size if isinstance(size, int) else None


def _sum(node: ir.Node, inputs: ChannelValues, state: AnalysisState) -> ChannelValue:
    """Add or subtract: both sides have one scale; beside a constant, which is scaled, the shift passes."""
    left, right = inputs
    if left is not None and right is not None:
        state.constraints.equal(*_broadcast(left, right), f"{title(node)} has an operand that cannot be transformed")
        for data in (left, right):
            state.constraints.no_shift(data.channels, f"{title(node)} combines the shifts of two values")
        return ChannelValue(align_rank(node, np.maximum(*_broadcast(left, right))))
    position = 0 if left is None else 1
    data = expect(left or right)
    if not is_constant(node.inputs[position]):
        raise BlockedError(node, "has an operand that does not share its transform")
    state.added_constants.append(((node, position), data.channels))
    if node.op_type == "Sub" and position == 0:
        state.constraints.no_shift(data.channels, f"{title(node)} negates the shift")
    return replace(data, channels=align_rank(node, data.channels))


def _scale(node: ir.Node, inputs: ChannelValues, state: AnalysisState) -> ChannelValue:
    """Multiply or divide by an independent factor, which has no transform."""
    position = _main_factor(inputs)
    data, other, factor = expect(inputs[position]), inputs[1 - position], node.inputs[1 - position]
    if other is not None:
        if np.intersect1d(variables_of(data.channels), variables_of(other.channels)).size:
            raise BlockedError(node, "multiplies the value by itself")
        state.block((node, 1 - position), other, f"{title(node)} passes on the transform of its other factor")
    if factor is None or factor.const_value is None or factor.const_value.size != 1:
        state.constraints.no_shift(data.channels, f"{title(node)} scales the shift")
        state.kinds.append((data.channels, "GatedMLP"))
    return ChannelValue(align_rank(node, data.channels), exact=False)


def _main_factor(inputs: ChannelValues) -> int:
    """Return the factor that passes its transform on: rather the one that comes straight from its producer."""
    left, right = inputs
    return 1 if left is None or (right is not None and right.exact and not left.exact) else 0


def _broadcast(x: ChannelValue, y: ChannelValue) -> tuple[ChannelMap, ChannelMap]:
    a, b = np.broadcast_arrays(x.channels, y.channels)
    return a, b


_ONNX: dict[str, tuple[tuple[int, ...], TransferFunction]] = {
    **dict.fromkeys(SIGN_FREE, ((0,), _homogeneous)),
    "Clip": ((0,), _clip),
    **dict.fromkeys(POOLING, ((0,), _pool)),
    **dict.fromkeys(RESAMPLING, ((0,), _resize)),
    **dict.fromkeys(EXTREME_REDUCTIONS | LINEAR_REDUCTIONS, ((0,), _reduce)),
    "Pad": ((0,), _pad),
    **dict.fromkeys(ADDITIVE, ((0, 1), _sum)),
    "Mul": ((0, 1), _scale),
    "Div": ((0,), _scale),
    "MatMul": ((0, 1), matmul),
    "Attention": ((0, 1, 2), attention),
    "RotaryEmbedding": ((0,), rotary),
}
"""By op, the inputs that may have a transform, and the function. MatMul is here for two computed values."""

_TRANSFER_FUNCTIONS = {
    **{("", op_type): entry for op_type, entry in _ONNX.items()},
    ("com.microsoft", "MultiHeadAttention"): ((0, 1, 2), attention),
    ("com.microsoft", "RotaryEmbedding"): ((0,), rotary),
}
