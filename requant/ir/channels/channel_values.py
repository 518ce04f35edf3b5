"""ChannelValues: where the channels of a value come from, as a walk from producers to consumers follows them."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeAlias

import onnx_ir as ir

from ..norms import Slot
from .constraints import Constraints
from .reshape import ChannelMap


@dataclass(frozen=True)
class ChannelValue:
    """Where a value's channels come from: the variable at each element, in an array that broadcasts against it.

    ``exact`` says that the shift arrives as t, and not as some other constant of each channel.
    """

    channels: ChannelMap
    exact: bool = True


@dataclass
class AnalysisState:
    """What is known while a graph is walked.

    ``absorbing`` values are read by ops alone that take a transform or pass it on. ``edges`` are inputs of ops that
    take none. ``operands`` are constants that have to be divided by d; ``kinds`` says of variables what they passed through.
    """

    absorbing: set[ir.Value]
    constraints: Constraints = field(default_factory=Constraints)
    edges: list[tuple[Slot, ChannelMap]] = field(default_factory=list)
    operands: list[tuple[Slot, ChannelMap]] = field(default_factory=list)
    kinds: list[tuple[ChannelMap, str]] = field(default_factory=list)

    def stop(self, slot: Slot, track: ChannelValue, reason: str) -> None:
        """The op takes no transform at that input."""
        self.constraints.edge(track.channels, reason)
        if not track.exact:
            self.constraints.no_shift(track.channels, f"the shift is scaled where {reason}")
        self.edges.append((slot, track.channels))


class BlockedError(Exception):
    """The op takes no transform at any of its inputs; the text says why."""


ChannelValues: TypeAlias = list[ChannelValue | None]
Rule: TypeAlias = Callable[[ir.Node, ChannelValues, AnalysisState], ChannelValue | None]


def given(track: ChannelValue | None) -> ChannelValue:
    """A track that is known to be there."""
    assert track is not None
    return track


def ranked(node: ir.Node, channels: ChannelMap) -> ChannelMap:
    """``channels`` with as many axes as the first output of ``node``, which may be a broadcast one."""
    shape = node.outputs[0].shape
    if shape is None or len(shape) < channels.ndim:
        raise BlockedError(f"the rank of what {node.op_type} {node.name!r} makes is unknown")
    return channels.reshape((1,) * (len(shape) - channels.ndim) + channels.shape)
