"""The effect of each op that only moves elements on the channel map of its data.

What an op does to the map decides whether it can be followed; its name only says how to compute that.
"""

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from ..constants import array
from .blocked import BlockedError
from .reshape import NO_CHANNEL, ChannelMap, dims, regroup


def cast(node: ir.Node, channels: ChannelMap) -> ChannelMap:
    """Keep the map, unless the result are integers."""
    if not ir.DataType(node.attributes.get_int("to", 0)).is_floating_point():
        raise BlockedError(node, "converts it to integers")
    return channels


def dropout(node: ir.Node, channels: ChannelMap) -> list[ChannelMap]:
    """Keep the map at inference."""
    training = _parameter(node, 2, "modes")
    if training is not None and training.any():
        raise BlockedError(node, "is in training mode")
    return [channels]


def transpose(node: ir.Node, channels: ChannelMap) -> ChannelMap:
    """Permute the axes."""
    return channels.transpose(node.attributes.get_ints("perm", tuple(reversed(range(channels.ndim)))))


def squeeze(node: ir.Node, channels: ChannelMap) -> ChannelMap:
    """Remove axes."""
    axes = tuple(int(axis) for axis in _required_parameter(node, 1, "axes"))
    if any(channels.shape[axis] != 1 for axis in axes):
        raise BlockedError(node, "removes the channel axis")
    return channels.squeeze(axes)


def unsqueeze(node: ir.Node, channels: ChannelMap) -> ChannelMap:
    """Add axes."""
    return np.expand_dims(channels, tuple(int(axis) for axis in _required_parameter(node, 1, "axes")))


def slice_(node: ir.Node, channels: ChannelMap) -> ChannelMap:
    """Pick ranges of channels; bounds along other axes may be dynamic."""
    axes = [int(axis) % channels.ndim for axis in _required_parameter(node, 3, "axes")]
    if all(channels.shape[axis] == 1 for axis in axes):
        return channels
    starts, ends = _required_parameter(node, 1, "starts"), _required_parameter(node, 2, "ends")
    steps = _parameter(node, 4, "steps")
    for axis, start, end, step in zip(axes, starts, ends, np.ones(len(axes)) if steps is None else steps, strict=True):
        if channels.shape[axis] > 1:
            channels = channels.take(_positions(channels.shape[axis], int(start), int(end), int(step)), axis)
    return channels


def _positions(size: int, start: int, end: int, step: int) -> NDArray[np.intp]:
    """List the positions of ``size`` that Slice keeps; ONNX clamps its bounds in another way than Python does."""
    start, end = (bound + size if bound < 0 else bound for bound in (start, end))
    lowest, highest = (0, size) if step > 0 else (-1, size - 1)
    return np.arange(min(max(start, 0), highest), min(max(end, lowest), highest), step)


def split(node: ir.Node, channels: ChannelMap) -> list[ChannelMap]:
    """Cut the map into that of each output."""
    axis = node.attributes.get_int("axis", 0) % channels.ndim
    if channels.shape[axis] == 1:
        return [channels] * len(node.outputs)
    sizes = _parameter(node, 1, "sizes")
    if sizes is None:
        step = -(-channels.shape[axis] // len(node.outputs))
        cuts = list(range(step, channels.shape[axis], step))
    else:
        cuts = [int(cut) for cut in np.cumsum(sizes)[:-1]]
    return np.split(channels, cuts, axis)


def gather(node: ir.Node, channels: ChannelMap) -> ChannelMap:
    """Pick channels by constant indices, or positions along another axis by any."""
    axis, indices = node.attributes.get_int("axis", 0) % channels.ndim, node.inputs[1]
    if channels.shape[axis] > 1:
        return channels.take(_required_parameter(node, 1, "indices").astype(int), axis)
    if indices is None or indices.shape is None:
        raise BlockedError(node, "has indices of unknown rank")
    return channels.reshape(channels.shape[:axis] + (1,) * len(indices.shape) + channels.shape[axis + 1 :])


def reshape(node: ir.Node, channels: ChannelMap) -> ChannelMap:
    """Split and merge axes."""
    source, target = node.inputs[0], node.outputs[0]
    if source is None or source.shape is None or target.shape is None:
        raise BlockedError(node, "has an input or output of unknown shape")
    regrouped = regroup(channels, dims(source.shape), dims(target.shape))
    if regrouped is None:
        raise BlockedError(node, "mixes channels with other axes")
    return regrouped


def concat(node: ir.Node, maps: Sequence[ChannelMap | None]) -> ChannelMap:
    """Join the maps of all inputs."""
    rank = next(channels.ndim for channels in maps if channels is not None)
    axis = node.attributes.get_int("axis", 0) % rank
    parts = [
        _no_channel(node, value, axis, rank) if channels is None else channels
        for channels, value in zip(maps, node.inputs, strict=True)
    ]
    if all(np.array_equal(channels, parts[0]) for channels in parts) and parts[0].shape[axis] == 1:
        return parts[0]
    if any(part.shape[axis] == 1 != _size(value, axis) for part, value in zip(parts, node.inputs, strict=True)):
        raise BlockedError(node, "joins parts with different channels")
    other_dims = np.broadcast_shapes(*(channels.take([0], axis).shape for channels in parts))
    widths = [channels.shape[axis] for channels in parts]
    shapes = [(*other_dims[:axis], width, *other_dims[axis + 1 :]) for width in widths]
    return np.concatenate([np.broadcast_to(part, shape) for part, shape in zip(parts, shapes, strict=True)], axis)


def _size(value: ir.Value | None, axis: int) -> int | ir.SymbolicDim | None:
    return value.shape[axis] if value is not None and value.shape is not None else None


def _no_channel(node: ir.Node, value: ir.Value | None, axis: int, rank: int) -> ChannelMap:
    """Return the map of a part without a transform: it is joined along the channels, or it blocks the rest."""
    size = _size(value, axis)
    if not isinstance(size, int) or size < 2:
        raise BlockedError(node, "joins it with a value that does not share its transform")
    return np.full((1,) * axis + (size,) + (1,) * (rank - axis - 1), NO_CHANNEL)


def expand(node: ir.Node, channels: ChannelMap) -> ChannelMap:
    """Broadcast: new axes come first, and none of those that exist changes its channels."""
    shape = node.outputs[0].shape
    if shape is None:
        raise BlockedError(node, "has an output of unknown rank")
    return channels.reshape((1,) * (len(shape) - channels.ndim) + channels.shape)


def tile(node: ir.Node, channels: ChannelMap) -> ChannelMap:
    """Repeat the channels."""
    repeats = _required_parameter(node, 1, "repeats")
    return np.tile(channels, [int(n) if size > 1 else 1 for n, size in zip(repeats, channels.shape, strict=True)])


def _required_parameter(node: ir.Node, position: int, name: str) -> NDArray[np.generic]:
    data = _parameter(node, position, name)
    if data is None:
        raise BlockedError(node, f"has no {name}")
    return data


def _parameter(node: ir.Node, position: int, name: str) -> NDArray[np.generic] | None:
    """Return the constant at an input; None when nothing is connected there."""
    value = node.inputs[position] if len(node.inputs) > position else None
    data = array(value)
    if value is not None and data is None:
        raise BlockedError(node, f"has {name} that are computed at run time")
    return data
