"""What attention lets through of a transform.

P ((v - t) / d) = (P v - t) / d        where the rows of P sum to 1, as a softmax makes them
(q d) (k / d)ᵀ = q kᵀ                  d may differ between channels, not between the heads that share a key
softmax(q (k - t)ᵀ) = softmax(q kᵀ)    a constant added to a row of scores is divided away
rotate(x / d) = rotate(x) / d          where both channels of a rotated pair have one d
"""

from dataclasses import replace

import numpy as np
import onnx_ir as ir

from ..constants import is_constant
from .channel_values import AnalysisState, BlockedError, ChannelValue, ChannelValues, given, ranked
from .constraints import known
from .reshape import NO_CHANNEL, ChannelMap
from .softmax import ignores_row_constants, rows_sum_to_one


def product(node: ir.Node, tracks: ChannelValues, walk: AnalysisState) -> ChannelValue | None:
    """A MatMul of two computed values."""
    left, right = tracks
    if any(value is None or value.shape is None or len(value.shape) < 2 for value in node.inputs):
        raise BlockedError(f"MatMul {node.name!r} has operands of unknown rank")
    if _varies(left, -1) or _varies(right, -2):
        _contract(node, left, right, walk)
        return None
    if left is not None and right is not None:
        raise BlockedError(f"MatMul {node.name!r} multiplies two values that have a transform")
    if node.outputs[0] not in walk.absorbing:
        raise BlockedError(f"what MatMul {node.name!r} makes of it is read by others too")
    track = given(left or right)
    if right is None or not rows_sum_to_one(node.inputs[0]):
        walk.constraints.no_shift(
            track.channels, f"MatMul {node.name!r} weights the shift by rows that do not sum to 1"
        )
    if right is not None:
        walk.kinds.append((track.channels, "Attention"))
    return replace(track, channels=ranked(node, track.channels))


def _contract(node: ir.Node, left: ChannelValue | None, right: ChannelValue | None, walk: AnalysisState) -> None:
    """The two sides of scores."""
    if left is None or right is None:
        raise BlockedError(f"MatMul {node.name!r} sums over its channels against a value that nobody re-transforms")
    if left.channels.shape[-2] > 1 or right.channels.shape[-1] > 1:
        raise BlockedError(f"MatMul {node.name!r} sums over more than its channels")
    free = ignores_row_constants(node.outputs[0])
    _score(node, left.channels[..., 0, :], right.channels[..., 0], walk, shiftable=free)


def _score(node: ir.Node, q: ChannelMap, k: ChannelMap, walk: AnalysisState, *, shiftable: bool) -> None:
    name = f"{node.op_type} {node.name!r}"
    if np.intersect1d(known(q), known(k)).size:
        raise BlockedError(f"{name} multiplies it by itself")
    walk.constraints.inverse(q, k, f"{name} sums over channels that nobody re-transforms")
    walk.constraints.group(np.concatenate([q.ravel(), k.ravel()]))
    walk.constraints.no_shift(q, f"{name} multiplies the shift by the other side")
    if not shiftable:
        walk.constraints.no_shift(k, f"{name} goes to no plain softmax over its rows")
    walk.kinds.append((k, "QK"))


def attention(node: ir.Node, tracks: ChannelValues, walk: AnalysisState) -> ChannelValue | None:
    """The ops that are a whole attention: Attention of opset 23, MultiHeadAttention of ONNX Runtime."""
    name, extra = f"{node.op_type} {node.name!r}", node.inputs[4:6] if node.domain == "" else node.inputs[6:]
    if any(extra) or any(value.uses() or value.is_graph_output() for value in node.outputs[1:]):
        raise BlockedError(f"{name} takes or gives keys and values of other calls")
    q, k, v = (_heads(node, position, tracks[position]) for position in range(3))
    taken = list(tracks)
    for position, own, other in ((0, q, k), (1, k, q)):
        if own is not None and other is None:
            walk.stop((node, position), given(tracks[position]), f"{name} multiplies it by what nobody re-transforms")
            taken[position] = None
    if q is not None and k is not None:
        capped = node.attributes.get_float("softcap", 0.0) > 0
        _score(node, q, np.repeat(k, len(q) // len(k), axis=0), walk, shiftable=not capped)
    if v is not None and node.outputs[0] not in walk.absorbing:
        walk.stop((node, 2), given(tracks[2]), f"what {name} makes of it is read by others too")
        taken[2] = v = None
    _share_bias(node, taken, walk)
    if v is None:
        return None
    walk.kinds.append((v, "Attention"))
    if node.domain == "" and len(node.inputs) > 3 and node.inputs[3] is not None:
        walk.constraints.no_shift(v, f"{name} gives zeros where its mask leaves nothing of a row")
    groups = _count(node, 0) // _count(node, 2)
    return ChannelValue(_joined(node, np.repeat(v, groups, axis=0)), given(tracks[2]).exact)


def _heads(node: ir.Node, position: int, track: ChannelValue | None) -> ChannelMap | None:
    """The channels of an input as [heads, width], whether it has an axis of heads or not."""
    if track is None:
        return None
    channels, heads = track.channels, _count(node, position)
    if channels.ndim == 3 and channels.shape[:2] == (1, 1):
        return channels.reshape(heads, -1)
    if channels.ndim == 4 and channels.shape[0] == channels.shape[2] == 1:
        return np.broadcast_to(channels[0, :, 0], (heads, channels.shape[-1]))
    raise BlockedError(f"{node.op_type} {node.name!r} reads it along another axis")


def _joined(node: ir.Node, heads: ChannelMap) -> ChannelMap:
    """[heads, width] as the channels of the output."""
    shape = node.outputs[0].shape
    if shape is None:
        raise BlockedError(f"the rank of what {node.op_type} {node.name!r} makes is unknown")
    return heads.reshape(1, 1, -1) if len(shape) == 3 else heads[None, :, None]


def _count(node: ir.Node, position: int) -> int:
    """How many heads an input has."""
    value = node.inputs[position]
    if value is None or value.shape is None:
        raise BlockedError(f"{node.op_type} {node.name!r} has an input of unknown shape")
    if len(value.shape) == 4:
        heads = value.shape[1]
        return heads if isinstance(heads, int) else 0
    names = ("num_heads", "q_num_heads" if position == 0 else "kv_num_heads")
    return max(node.attributes.get_int(name, 0) for name in names) or 1


def _share_bias(node: ir.Node, tracks: ChannelValues, walk: AnalysisState) -> None:
    """MultiHeadAttention adds one constant to Q, K and V side by side; it is scaled with them."""
    if node.domain == "" or len(node.inputs) < 4 or node.inputs[3] is None:
        return
    if not is_constant(node.inputs[3]):
        raise BlockedError(f"{node.op_type} {node.name!r} adds a bias that is known only at run time")
    widths = [value.shape[-1] if value is not None and value.shape is not None else 0 for value in node.inputs[:3]]
    parts = [
        track.channels.reshape(-1) if track is not None else np.full(width if isinstance(width, int) else 0, NO_CHANNEL)
        for width, track in zip(widths, tracks, strict=False)
    ]
    walk.operands.append(((node, 3), np.concatenate(parts)))


def rotary(node: ir.Node, tracks: ChannelValues, walk: AnalysisState) -> ChannelValue:
    """The op RotaryEmbedding: pairs of channels are rotated into each other."""
    track, shape = given(tracks[0]), node.outputs[0].shape
    heads = node.attributes.get_int("num_heads", 0) if shape is not None and len(shape) == 3 else 1
    if shape is None or track.channels.ndim != len(shape) or not heads:
        raise BlockedError(f"RotaryEmbedding {node.name!r} has an unknown number of heads")
    flat = track.channels.reshape(-1, track.channels.shape[-1] // heads)
    width = node.attributes.get_int("rotary_embedding_dim", 0) or flat.shape[1]
    turned = flat[:, :width]
    first, second = np.split(turned, 2, axis=1)
    if node.attributes.get_int("interleaved", 0):
        first, second = turned[:, ::2], turned[:, 1::2]
    walk.constraints.equal(
        first, second, f"RotaryEmbedding {node.name!r} rotates it into a channel that nobody re-transforms"
    )
    walk.constraints.no_shift(turned, f"RotaryEmbedding {node.name!r} rotates the shift")
    return track


def scores(node: ir.Node, position: int) -> bool:
    """Whether that input may be one side of Q Kᵀ, so that what becomes of the output does not matter."""
    return node.op_type == "MatMul" or (node.op_type in ("Attention", "MultiHeadAttention") and position < 2)


def _varies(track: ChannelValue | None, axis: int) -> bool:
    return track is not None and track.channels.shape[axis] > 1
