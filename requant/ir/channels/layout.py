"""Channel maps: the channel that each element of a value holds, followed through ops that only move elements.

A channel map is an integer array that broadcasts against its value: `map[..., i]` is the channel of the
elements there. Axes along which the channel does not change have length 1, so that batch and sequence may be
dynamic.
"""

from collections.abc import Callable, Sequence

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from .blocked import BlockedError
from .movement import cast, concat, dropout, expand, gather, reshape, slice_, split, squeeze, tile, transpose, unsqueeze
from .reshape import ChannelMap


def last_axis(channels: int, rank: int) -> ChannelMap:
    """Return the map of a value whose last axis is the channels."""
    return np.arange(channels).reshape((1,) * (rank - 1) + (channels,))


def along_axis(channels: ChannelMap, axis: int) -> NDArray[np.intp] | None:
    """Return the channel of each position of ``axis``; None when another axis matters too, or ``axis`` does not."""
    axis = axis % channels.ndim
    other_dims = channels.shape[:axis] + channels.shape[axis + 1 :]
    return channels.reshape(-1) if set(other_dims) <= {1} and channels.shape[axis] > 1 else None


def is_movement(node: ir.Node) -> bool:
    """Tell whether ``node`` only moves elements of its first input (or of all of them, for Concat)."""
    return node.domain == "" and node.op_type in _MOVEMENTS


def move(node: ir.Node, maps: Sequence[ChannelMap | None]) -> list[ChannelMap]:
    """Return the channel maps of the outputs of ``node`` that hold data, given those of its inputs.

    Raises:
        BlockedError: the maps of the outputs cannot be computed.
    """
    if node.op_type == "Concat":
        return [concat(node, maps)]
    if maps[0] is None:
        raise BlockedError(node, "reads it at an input other than its data")
    try:
        outputs = _MOVEMENTS[node.op_type](node, maps[0])
    except (IndexError, ValueError) as error:
        raise BlockedError(node, "has parameters that do not fit its input") from error
    return outputs if isinstance(outputs, list) else [outputs]


_MOVEMENTS: dict[str, Callable[[ir.Node, ChannelMap], ChannelMap | list[ChannelMap]]] = {
    "Identity": lambda node, channels: channels,
    "Dropout": dropout,
    "Cast": cast,
    "Transpose": transpose,
    "Squeeze": squeeze,
    "Unsqueeze": unsqueeze,
    "Slice": slice_,
    "Split": split,
    "Gather": gather,
    "Expand": expand,
    "Tile": tile,
    "Reshape": reshape,
    "Flatten": reshape,
    "Concat": lambda node, channels: [],
}
"""By op that only moves elements, its effect on the map of its data. Concat takes all of its inputs."""
