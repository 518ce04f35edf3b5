"""Tracks: where the channels of a value come from, as a walk from writers to readers follows them."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeAlias

import onnx_ir as ir

from ..norms import Slot
from .constraints import Ledger
from .reshape import ChannelMap


@dataclass(frozen=True)
class Track:
    """Where a value's channels come from: the variable at each element, in an array that broadcasts against it.

    ``exact`` says that the shift arrives as t, and not as some other constant of each channel.
    """

    channels: ChannelMap
    exact: bool = True


@dataclass
class Walk:
    """What is known while a graph is walked.

    ``absorbing`` values are read by ops alone that take a basis or pass it on. ``edges`` are inputs of ops that take
    none. ``operands`` are constants that have to be divided by d; ``kinds`` says of variables what they passed through.
    """

    absorbing: set[ir.Value]
    ledger: Ledger = field(default_factory=Ledger)
    edges: list[tuple[Slot, ChannelMap]] = field(default_factory=list)
    operands: list[tuple[Slot, ChannelMap]] = field(default_factory=list)
    kinds: list[tuple[ChannelMap, str]] = field(default_factory=list)

    def stop(self, slot: Slot, track: Track, reason: str) -> None:
        """The op takes no basis at that input."""
        self.ledger.edge(track.channels, reason)
        if not track.exact:
            self.ledger.fix(track.channels, f"the shift is scaled where {reason}")
        self.edges.append((slot, track.channels))


class StoppedError(Exception):
    """The op takes no basis at any of its inputs; the text says why."""


Tracks: TypeAlias = list[Track | None]
Rule: TypeAlias = Callable[[ir.Node, Tracks, Walk], Track | None]


def given(track: Track | None) -> Track:
    """A track that is known to be there."""
    assert track is not None
    return track


def ranked(node: ir.Node, channels: ChannelMap) -> ChannelMap:
    """``channels`` with as many axes as the first output of ``node``, which may be a broadcast one."""
    shape = node.outputs[0].shape
    if shape is None or len(shape) < channels.ndim:
        raise StoppedError(f"the rank of what {node.op_type} {node.name!r} makes is unknown")
    return channels.reshape((1,) * (len(shape) - channels.ndim) + channels.shape)
