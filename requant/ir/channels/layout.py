"""Where channels go: which channel each element of a value holds, through ops that only move elements.

A channel map is an integer array that broadcasts against its value: `map[..., i]` is the channel of the
elements there. Axes along which the channel does not change have length 1, so that batch and sequence may be
dynamic.
What an op does to the map decides whether it can be followed; its name only says how to compute that.
"""

from collections.abc import Callable, Sequence

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from ..constants import array
from .reshape import NO_CHANNEL, ChannelMap, dims, regroup


class ImmovableError(Exception):
    """The op reads the value in a way that loses track of its channels; the text says why."""


def last_axis(channels: int, rank: int) -> ChannelMap:
    """The map of a value whose last axis is the channels."""
    return np.arange(channels).reshape((1,) * (rank - 1) + (channels,))


def along_axis(channels: ChannelMap, axis: int) -> NDArray[np.intp] | None:
    """The channel of each position of ``axis``, or None when another axis matters too or it does not."""
    axis = axis % channels.ndim
    rest = channels.shape[:axis] + channels.shape[axis + 1 :]
    return channels.reshape(-1) if set(rest) <= {1} and channels.shape[axis] > 1 else None


def is_mover(node: ir.Node) -> bool:
    """Whether ``node`` only moves elements of its first input (or of all of them, for Concat)."""
    return node.domain == "" and node.op_type in _MOVES


def move(node: ir.Node, maps: Sequence[ChannelMap | None]) -> list[ChannelMap]:
    """The channel maps of the outputs of ``node`` that hold data, given those of its inputs.

    Raises:
        ImmovableError: the maps of the outputs cannot be known.
    """
    if node.op_type == "Concat":
        return [_concat(node, maps)]
    if maps[0] is None:
        raise ImmovableError(f"it is not the data of {node.op_type}")
    try:
        moved = _MOVES[node.op_type](node, maps[0])
    except (IndexError, ValueError) as error:
        raise ImmovableError(f"{node.op_type} does not fit its data") from error
    return moved if isinstance(moved, list) else [moved]


def _identity(node: ir.Node, channels: ChannelMap) -> ChannelMap:
    return channels


def _cast(node: ir.Node, channels: ChannelMap) -> ChannelMap:
    if not ir.DataType(node.attributes.get_int("to", 0)).is_floating_point():
        raise ImmovableError("Cast makes integers of it")
    return channels


def _transpose(node: ir.Node, channels: ChannelMap) -> ChannelMap:
    return channels.transpose(node.attributes.get_ints("perm", tuple(reversed(range(channels.ndim)))))


def _dropout(node: ir.Node, channels: ChannelMap) -> list[ChannelMap]:
    training = _given(node, 2, "mode is")
    if training is not None and training.any():
        raise ImmovableError("Dropout is in training mode")
    return [channels]


def _squeeze(node: ir.Node, channels: ChannelMap) -> ChannelMap:
    axes = tuple(int(axis) for axis in _required(node, 1, "axes"))
    if any(channels.shape[axis] != 1 for axis in axes):
        raise ImmovableError("Squeeze removes the channel axis")
    return channels.squeeze(axes)


def _unsqueeze(node: ir.Node, channels: ChannelMap) -> ChannelMap:
    return np.expand_dims(channels, tuple(int(axis) for axis in _required(node, 1, "axes")))


def _slice(node: ir.Node, channels: ChannelMap) -> ChannelMap:
    axes = [int(axis) % channels.ndim for axis in _required(node, 3, "axes")]
    if all(channels.shape[axis] == 1 for axis in axes):
        return channels
    starts, ends = _required(node, 1, "starts"), _required(node, 2, "ends")
    steps = _given(node, 4, "steps are")
    for axis, start, end, step in zip(axes, starts, ends, np.ones(len(axes)) if steps is None else steps, strict=True):
        if channels.shape[axis] > 1:
            channels = channels.take(_positions(channels.shape[axis], int(start), int(end), int(step)), axis)
    return channels


def _positions(size: int, start: int, end: int, step: int) -> NDArray[np.intp]:
    """What Slice keeps of ``size`` positions; ONNX clamps its bounds in another way than Python does."""
    start, end = (bound + size if bound < 0 else bound for bound in (start, end))
    lowest, highest = (0, size) if step > 0 else (-1, size - 1)
    return np.arange(min(max(start, 0), highest), min(max(end, lowest), highest), step)


def _split(node: ir.Node, channels: ChannelMap) -> list[ChannelMap]:
    axis = node.attributes.get_int("axis", 0) % channels.ndim
    if channels.shape[axis] == 1:
        return [channels] * len(node.outputs)
    sizes = _given(node, 1, "sizes are")
    if sizes is None:
        step = -(-channels.shape[axis] // len(node.outputs))
        cuts = list(range(step, channels.shape[axis], step))
    else:
        cuts = [int(cut) for cut in np.cumsum(sizes)[:-1]]
    return np.split(channels, cuts, axis)


def _gather(node: ir.Node, channels: ChannelMap) -> ChannelMap:
    axis, indices = node.attributes.get_int("axis", 0) % channels.ndim, node.inputs[1]
    if channels.shape[axis] > 1:
        return channels.take(_required(node, 1, "indices").astype(int), axis)
    if indices is None or indices.shape is None:
        raise ImmovableError("Gather's indices have an unknown rank")
    return channels.reshape(channels.shape[:axis] + (1,) * len(indices.shape) + channels.shape[axis + 1 :])


def _reshape(node: ir.Node, channels: ChannelMap) -> ChannelMap:
    source, target = node.inputs[0], node.outputs[0]
    if source is None or source.shape is None or target.shape is None:
        raise ImmovableError(f"{node.op_type}'s shapes are unknown")
    regrouped = regroup(channels, dims(source.shape), dims(target.shape))
    if regrouped is None:
        raise ImmovableError(f"{node.op_type} mixes channels with other axes")
    return regrouped


def _concat(node: ir.Node, maps: Sequence[ChannelMap | None]) -> ChannelMap:
    rank = next(channels.ndim for channels in maps if channels is not None)
    axis = node.attributes.get_int("axis", 0) % rank
    known = [
        _no_channel(value, axis, rank) if channels is None else channels
        for channels, value in zip(maps, node.inputs, strict=True)
    ]
    if all(np.array_equal(channels, known[0]) for channels in known) and known[0].shape[axis] == 1:
        return known[0]
    if any(part.shape[axis] == 1 != _size(value, axis) for part, value in zip(known, node.inputs, strict=True)):
        raise ImmovableError("Concat joins parts whose channels differ")
    rest = np.broadcast_shapes(*(channels.take([0], axis).shape for channels in known))
    widths = [channels.shape[axis] for channels in known]
    full = [(*rest[:axis], width, *rest[axis + 1 :]) for width in widths]
    return np.concatenate([np.broadcast_to(part, shape) for part, shape in zip(known, full, strict=True)], axis)


def _size(value: ir.Value | None, axis: int) -> int | ir.SymbolicDim | None:
    return value.shape[axis] if value is not None and value.shape is not None else None


def _no_channel(value: ir.Value | None, axis: int, rank: int) -> ChannelMap:
    """The map of a part that has no transform: it is joined along the channels, or it spoils the rest."""
    size = _size(value, axis)
    if not isinstance(size, int) or size < 2:
        raise ImmovableError("Concat joins it with a value of another transform")
    return np.full((1,) * axis + (size,) + (1,) * (rank - axis - 1), NO_CHANNEL)


def _expand(node: ir.Node, channels: ChannelMap) -> ChannelMap:
    """Broadcasting: new axes come first, and none of those that exist changes its channels."""
    shape = node.outputs[0].shape
    if shape is None:
        raise ImmovableError("Expand's shape is unknown")
    return channels.reshape((1,) * (len(shape) - channels.ndim) + channels.shape)


def _tile(node: ir.Node, channels: ChannelMap) -> ChannelMap:
    repeats = _given(node, 1, "repeats are")
    if repeats is None:
        raise ImmovableError("Tile has no repeats")
    return np.tile(channels, [int(n) if size > 1 else 1 for n, size in zip(repeats, channels.shape, strict=True)])


def _required(node: ir.Node, position: int, what: str) -> NDArray[np.generic]:
    data = _given(node, position, f"{what} are")
    if data is None:
        raise ImmovableError(f"{node.op_type} has no {what}")
    return data


def _given(node: ir.Node, position: int, what: str) -> NDArray[np.generic] | None:
    """The constant at an input, or None when nothing is plugged in there."""
    value = node.inputs[position] if len(node.inputs) > position else None
    data = array(value)
    if value is not None and data is None:
        raise ImmovableError(f"{node.op_type}'s {what} known only at run time")
    return data


_MOVES: dict[str, Callable[[ir.Node, ChannelMap], ChannelMap | list[ChannelMap]]] = {
    "Identity": _identity,
    "Dropout": _dropout,
    "Cast": _cast,
    "Transpose": _transpose,
    "Squeeze": _squeeze,
    "Unsqueeze": _unsqueeze,
    "Slice": _slice,
    "Split": _split,
    "Gather": _gather,
    "Expand": _expand,
    "Tile": _tile,
    "Reshape": _reshape,
    "Flatten": _reshape,
    "Concat": lambda node, channels: [],
}
"""What each op that only moves elements does to the map of its data. Concat takes all of its inputs."""
