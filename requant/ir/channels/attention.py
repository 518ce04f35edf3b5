"""The transfer functions of attention.

P ((v - t) / d) = (P v - t) / d        where the rows of P sum to 1, as a softmax makes them
(q d) (k / d)ᵀ = q kᵀ                  d may differ between channels, not between the heads that share a key
softmax(q (k - t)ᵀ) = softmax(q kᵀ)    a constant added to a row of scores is divided away
rotate(x / d) = rotate(x) / d          where both channels of a rotated pair have one d
"""

from dataclasses import replace

import numpy as np
import onnx_ir as ir

from ..constants import is_constant
from .blocked import BlockedError, title
from .channel_values import AnalysisState, ChannelValue, ChannelValues, align_rank, expect
from .constraints import variables_of
from .reshape import NO_CHANNEL, ChannelMap
from .softmax import ignores_row_constants, rows_sum_to_one


def matmul(node: ir.Node, inputs: ChannelValues, state: AnalysisState) -> ChannelValue | None:
    """Multiply two computed values, such as Q Kᵀ or P V."""
    left, right = inputs
    if any(value is None or value.shape is None or len(value.shape) < 2 for value in node.inputs):
        raise BlockedError(node, "has operands of unknown rank")
    if _varies(left, -1) or _varies(right, -2):
        _contract(node, left, right, state)
        return None
    if left is not None and right is not None:
        raise BlockedError(node, "multiplies two transformed values")
    if node.outputs[0] not in state.absorbing:
        raise BlockedError(node, "has a consumer that cannot absorb the transform")
    data = expect(left or right)
    if right is None or not rows_sum_to_one(node.inputs[0]):
        state.constraints.no_shift(data.channels, f"{title(node)} multiplies the shift by rows that do not sum to 1")
    if right is not None:
        state.kinds.append((data.channels, "Attention"))
    return replace(data, channels=align_rank(node, data.channels))


def _contract(node: ir.Node, left: ChannelValue | None, right: ChannelValue | None, state: AnalysisState) -> None:
    """Relate the two sides of scores."""
    if left is None or right is None:
        raise BlockedError(node, "contracts its channels with a value that cannot be transformed")
    if left.channels.shape[-2] > 1 or right.channels.shape[-1] > 1:
        raise BlockedError(node, "reads channels along an axis that is not contracted")
    shiftable = ignores_row_constants(node.outputs[0])
    _constrain_scores(node, left.channels[..., 0, :], right.channels[..., 0], state, shiftable=shiftable)


def _constrain_scores(node: ir.Node, q: ChannelMap, k: ChannelMap, state: AnalysisState, *, shiftable: bool) -> None:
    """Require that q and k have inverse scales and that only k is shifted, if any."""
    if np.intersect1d(variables_of(q), variables_of(k)).size:
        raise BlockedError(node, "multiplies the value by itself")
    state.constraints.inverse(q, k, f"{title(node)} contracts it with channels that cannot be transformed")
    state.constraints.group(np.concatenate([q.ravel(), k.ravel()]))
    state.constraints.no_shift(q, f"{title(node)} multiplies the shift by its other operand")
    if not shiftable:
        state.constraints.no_shift(k, f"{title(node)} has scores that do not go straight into a softmax over rows")
    state.kinds.append((k, "QK"))


def attention(node: ir.Node, inputs: ChannelValues, state: AnalysisState) -> ChannelValue | None:
    """Pass the transform of V through ops that are a whole attention; relate those of Q and K.

    These are Attention of opset 23 and MultiHeadAttention of ONNX Runtime.
    """
    extra = node.inputs[4:6] if node.domain == "" else node.inputs[6:]
    if any(extra) or any(value.uses() or value.is_graph_output() for value in node.outputs[1:]):
        raise BlockedError(node, "has a key/value cache or a second output")
    q, k, v = (_heads(node, position, inputs[position]) for position in range(3))
    transformed = list(inputs)
    for position, side, other in ((0, q, k), (1, k, q)):
        if side is not None and other is None:
            reason = f"{title(node)} multiplies it by a value that cannot be transformed"
            state.block((node, position), expect(inputs[position]), reason)
            transformed[position] = None
    if q is not None and k is not None:
        capped = node.attributes.get_float("softcap", 0.0) > 0
        _constrain_scores(node, q, np.repeat(k, len(q) // len(k), axis=0), state, shiftable=not capped)
    if v is not None and node.outputs[0] not in state.absorbing:
        state.block((node, 2), expect(inputs[2]), f"{title(node)} has a consumer that cannot absorb the transform")
        transformed[2] = v = None
    _scale_bias(node, transformed, state)
    if v is None:
        return None
    state.kinds.append((v, "Attention"))
    if node.domain == "" and len(node.inputs) > 3 and node.inputs[3] is not None:
        state.constraints.no_shift(v, f"{title(node)} writes zeros for rows that its mask hides entirely")
    groups = _head_count(node, 0) // _head_count(node, 2)
    return ChannelValue(_join_heads(node, np.repeat(v, groups, axis=0)), expect(inputs[2]).exact)


def _heads(node: ir.Node, position: int, data: ChannelValue | None) -> ChannelMap | None:
    """Return the channels of an input as [heads, width], whether it has an axis of heads or not."""
    if data is None:
        return None
    channels, heads = data.channels, _head_count(node, position)
    if channels.ndim == 3 and channels.shape[:2] == (1, 1):
        return channels.reshape(heads, -1)
    if channels.ndim == 4 and channels.shape[0] == channels.shape[2] == 1:
        return np.broadcast_to(channels[0, :, 0], (heads, channels.shape[-1]))
    raise BlockedError(node, "reads the channels along another axis")


def _join_heads(node: ir.Node, heads: ChannelMap) -> ChannelMap:
    """Return [heads, width] as the channels of the output."""
    shape = node.outputs[0].shape
    if shape is None:
        raise BlockedError(node, "has an output of unknown rank")
    return heads.reshape(1, 1, -1) if len(shape) == 3 else heads[None, :, None]


def _head_count(node: ir.Node, position: int) -> int:
    """Return the number of heads of an input."""
    value = node.inputs[position]
    if value is None or value.shape is None:
        raise BlockedError(node, "has an input of unknown shape")
    if len(value.shape) == 4:
        heads = value.shape[1]
        return heads if isinstance(heads, int) else 0
    names = ("num_heads", "q_num_heads" if position == 0 else "kv_num_heads")
    return max(node.attributes.get_int(name, 0) for name in names) or 1


def _scale_bias(node: ir.Node, inputs: ChannelValues, state: AnalysisState) -> None:
    """Note the constant that MultiHeadAttention adds to Q, K and V side by side; it is scaled with them."""
    if node.domain == "" or len(node.inputs) < 4 or node.inputs[3] is None:
        return
    if not is_constant(node.inputs[3]):
        raise BlockedError(node, "adds a bias that is computed at run time")
    widths = [value.shape[-1] if value is not None and value.shape is not None else 0 for value in node.inputs[:3]]
    parts = [
        data.channels.reshape(-1) if data is not None else np.full(width if isinstance(width, int) else 0, NO_CHANNEL)
        for width, data in zip(widths, inputs, strict=False)
    ]
    state.added_constants.append(((node, 3), np.concatenate(parts)))


def rotary(node: ir.Node, inputs: ChannelValues, state: AnalysisState) -> ChannelValue:
    """Rotate pairs of channels into each other, as the op RotaryEmbedding does."""
    data, shape = expect(inputs[0]), node.outputs[0].shape
    heads = node.attributes.get_int("num_heads", 0) if shape is not None and len(shape) == 3 else 1
    if shape is None or data.channels.ndim != len(shape) or not heads:
        raise BlockedError(node, "has an unknown number of heads")
    per_head = data.channels.reshape(-1, data.channels.shape[-1] // heads)
    width = node.attributes.get_int("rotary_embedding_dim", 0) or per_head.shape[1]
    rotated = per_head[:, :width]
    first, second = np.split(rotated, 2, axis=1)
    if node.attributes.get_int("interleaved", 0):
        first, second = rotated[:, ::2], rotated[:, 1::2]
    state.constraints.equal(first, second, f"{title(node)} rotates it into a channel that cannot be transformed")
    state.constraints.no_shift(rotated, f"{title(node)} rotates the shift")
    return data


def _varies(data: ChannelValue | None, axis: int) -> bool:
    return data is not None and data.channels.shape[axis] > 1
