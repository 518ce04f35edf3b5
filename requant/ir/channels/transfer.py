"""What ops that compute let through of a transform, beside those that only move elements.

    f(x / d) = f(x) / d              positively homogeneous: ReLU and its kin, products with somebody else's factor
    f((x - t) / d) = (f(x) - t) / d  averages: pooling, and P V with rows of P that sum to 1 (`attention`)

A rule gives the track of the output and tells the walk's constraints what it ties and fixes.
"""

from dataclasses import replace

import numpy as np
import onnx_ir as ir

from ..constants import array, is_constant
from .attention import attention, product, rotary
from .channel_values import AnalysisState, BlockedError, ChannelValue, ChannelValues, Rule, given, ranked
from .constraints import known
from .reshape import ChannelMap


def passes(node: ir.Node, position: int) -> bool:
    """Whether ``node`` may let a transform through from that input."""
    entry = _TRANSFERS.get((node.domain, node.op_type))
    return entry is not None and position in entry[0]


def transfer(node: ir.Node, tracks: ChannelValues, walk: AnalysisState) -> ChannelValue | None:
    """The track of the first output of ``node``; None when it has no transform of its own but the inputs' is absorbed.

    Raises:
        BlockedError: the inputs that have tracks must stay as they are.
    """
    positions, rule = _TRANSFERS[node.domain, node.op_type]
    if any(track is not None and position not in positions for position, track in enumerate(tracks)):
        raise BlockedError(f"{node.op_type} {node.name!r} is not linear in it")
    if rule not in (product, attention) and node.outputs[0] not in walk.absorbing:
        raise BlockedError(f"what {node.op_type} {node.name!r} makes of it is read by others too")
    try:
        return rule(node, tracks, walk)
    except (IndexError, ValueError) as error:
        raise BlockedError(f"{node.op_type} {node.name!r} does not fit its data") from error


def _homogeneous(node: ir.Node, tracks: ChannelValues, walk: AnalysisState) -> ChannelValue:
    track = given(tracks[0])
    walk.constraints.no_shift(track.channels, f"{node.op_type} {node.name!r} lets no shift through")
    return track


def _clip(node: ir.Node, tracks: ChannelValues, walk: AnalysisState) -> ChannelValue:
    low, high = (array(value) for value in (*node.inputs[1:3], None, None)[:2])
    if len(node.inputs) > 1 and node.inputs[1] is not None and low is None:
        raise BlockedError(f"Clip {node.name!r} has bounds that are known only at run time")
    if high is not None or low is None or low.any() or any(node.inputs[2:]):
        raise BlockedError(f"Clip {node.name!r} has a bound other than 0")
    return _homogeneous(node, tracks, walk)


def _pool(node: ir.Node, tracks: ChannelValues, walk: AnalysisState) -> ChannelValue:
    """Pooling and resizing within channels: the axes from 2 on."""
    track = given(tracks[0])
    if any(size > 1 for size in track.channels.shape[2:]):
        raise BlockedError(f"{node.op_type} {node.name!r} mixes channels")
    attributes = node.attributes
    padded = any(attributes.get_ints("pads", ())) or attributes.get_string("auto_pad", "").startswith("SAME")
    if padded and attributes.get_int("count_include_pad", 0) != 0:
        walk.constraints.no_shift(track.channels, f"{node.op_type} {node.name!r} counts zeros around the data")
    return track


def _resize(node: ir.Node, tracks: ChannelValues, walk: AnalysisState) -> ChannelValue:
    if node.attributes.get_string("coordinate_transformation_mode", "") == "tf_crop_and_resize":
        raise BlockedError(f"Resize {node.name!r} fills in values from outside")
    return _pool(node, tracks, walk)


def _reduce(node: ir.Node, tracks: ChannelValues, walk: AnalysisState) -> ChannelValue:
    track = given(tracks[0])
    axes = array(node.inputs[1]) if len(node.inputs) > 1 else node.attributes.get_ints("axes", None)
    if axes is None:
        raise BlockedError(f"{node.op_type} {node.name!r} reduces the channels too")
    places = tuple(int(axis) % track.channels.ndim for axis in np.ravel(axes))
    if any(track.channels.shape[axis] > 1 for axis in places):
        raise BlockedError(f"{node.op_type} {node.name!r} reduces the channels")
    if node.op_type == "ReduceSum":
        walk.constraints.no_shift(track.channels, f"ReduceSum {node.name!r} adds the shift up")
    if node.attributes.get_int("keepdims", 1):
        return track
    return replace(track, channels=track.channels.squeeze(places))


def _pad(node: ir.Node, tracks: ChannelValues, walk: AnalysisState) -> ChannelValue:
    track, amounts = given(tracks[0]), array(node.inputs[1])
    filling = node.inputs[2] if len(node.inputs) > 2 else None
    fill = array(filling)
    if filling is not None and (fill is None or fill.any()):
        raise BlockedError(f"Pad {node.name!r} adds other values than zeros")
    sizes = [(_size(node.inputs[0], axis), _size(node.outputs[0], axis)) for axis in _busy(track)]
    if any(before is None or before != after for before, after in sizes):
        raise BlockedError(f"Pad {node.name!r} adds channels")
    constant = node.attributes.get_string("mode", "constant") == "constant"
    if constant and (amounts is None or amounts.any()):
        walk.constraints.no_shift(track.channels, f"Pad {node.name!r} adds zeros")
    return track


def _busy(track: ChannelValue) -> list[int]:
    """The axes along which channels change."""
    return [axis for axis, size in enumerate(track.channels.shape) if size > 1]


def _size(value: ir.Value | None, axis: int) -> int | None:
    """The size of ``value`` along ``axis`` if that is static."""
    size = value.shape[axis] if value is not None and value.shape is not None else None
    return size if isinstance(size, int) else None


def _sum(node: ir.Node, tracks: ChannelValues, walk: AnalysisState) -> ChannelValue:
    """Add and Sub: both sides have one scale; beside a constant, which is scaled, the shift passes."""
    left, right = tracks
    if left is not None and right is not None:
        walk.constraints.equal(
            *_aligned(left, right), f"{node.op_type} {node.name!r} adds a value that nobody re-transforms"
        )
        for track in (left, right):
            walk.constraints.no_shift(track.channels, f"{node.op_type} {node.name!r} adds two values of one transform")
        return ChannelValue(ranked(node, np.maximum(*_aligned(left, right))))
    position = 0 if left is None else 1
    track = given(left or right)
    if not is_constant(node.inputs[position]):
        raise BlockedError(f"{node.op_type} {node.name!r} adds a value of another transform")
    walk.operands.append(((node, position), track.channels))
    if node.op_type == "Sub" and position == 0:
        walk.constraints.no_shift(track.channels, f"Sub {node.name!r} negates it")
    return replace(track, channels=ranked(node, track.channels))


def _scaled(node: ir.Node, tracks: ChannelValues, walk: AnalysisState) -> ChannelValue:
    """Mul and Div by somebody else's factor, which sees no transform."""
    position = _leading(tracks)
    track, other, factor = given(tracks[position]), tracks[1 - position], node.inputs[1 - position]
    if other is not None:
        if np.intersect1d(known(track.channels), known(other.channels)).size:
            raise BlockedError(f"{node.op_type} {node.name!r} multiplies it by itself")
        walk.stop((node, 1 - position), other, f"{node.op_type} {node.name!r} takes the transform of its other factor")
    if factor is None or factor.const_value is None or factor.const_value.size != 1:
        walk.constraints.no_shift(track.channels, f"{node.op_type} {node.name!r} scales the shift")
        walk.kinds.append((track.channels, "GatedMLP"))
    return ChannelValue(ranked(node, track.channels), exact=False)


def _leading(tracks: ChannelValues) -> int:
    """Which of two factors passes its transform on: rather the one that comes straight from its producer."""
    left, right = tracks
    return 1 if left is None or (right is not None and right.exact and not left.exact) else 0


def _aligned(left: ChannelValue, right: ChannelValue) -> tuple[ChannelMap, ChannelMap]:
    a, b = np.broadcast_arrays(left.channels, right.channels)
    return a, b


_RULES: dict[str, tuple[tuple[int, ...], Rule]] = {
    **dict.fromkeys(("Relu", "LeakyRelu", "PRelu", "Abs", "Neg"), ((0,), _homogeneous)),
    "Clip": ((0,), _clip),
    **dict.fromkeys(("MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool"), ((0,), _pool)),
    **dict.fromkeys(("Resize", "Upsample"), ((0,), _resize)),
    **dict.fromkeys(("ReduceMean", "ReduceMax", "ReduceMin", "ReduceSum"), ((0,), _reduce)),
    "Pad": ((0,), _pad),
    **dict.fromkeys(("Add", "Sub"), ((0, 1), _sum)),
    "Mul": ((0, 1), _scaled),
    "Div": ((0,), _scaled),
    "MatMul": ((0, 1), product),
    "Attention": ((0, 1, 2), attention),
    "RotaryEmbedding": ((0,), rotary),
}
"""The inputs that may have a transform, and the rule. MatMul is here for two computed values."""

_TRANSFERS = {
    **{("", op_type): entry for op_type, entry in _RULES.items()},
    ("com.microsoft", "MultiHeadAttention"): ((0, 1, 2), attention),
    ("com.microsoft", "RotaryEmbedding"): ((0,), rotary),
}
