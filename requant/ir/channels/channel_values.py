"""Channel values: where the channels of a value come from, as a walk from producers to consumers follows them."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeAlias

import onnx_ir as ir

from ..traverse import Slot
from .blocked import BlockedError
from .constraints import Constraints
from .reshape import ChannelMap


@dataclass(frozen=True)
class ChannelValue:
    """A value's channels: the variable at each element, in an array that broadcasts against the value.

    ``exact`` says that the shift arrives as t, and not as some other constant of each channel.
    """

    channels: ChannelMap
    exact: bool = True


@dataclass
class AnalysisState:
    """The facts that the walk over a graph collects.

    Consumers of ``absorbing`` values absorb a transform or pass it on. ``inverse_edges`` are inputs of ops that need
    the values as they were. ``added_constants`` have to be divided by d. ``kinds`` are kinds of sites, each with
    variables that passed through an op typical for it.
    """

    absorbing: set[ir.Value]
    constraints: Constraints = field(default_factory=Constraints)
    inverse_edges: list[tuple[Slot, ChannelMap]] = field(default_factory=list)
    added_constants: list[tuple[Slot, ChannelMap]] = field(default_factory=list)
    kinds: list[tuple[ChannelMap, str]] = field(default_factory=list)

    def block(self, slot: Slot, data: ChannelValue, reason: str) -> None:
        """Note that the op at that input needs ``data`` as it was."""
        self.constraints.inverse_edge(data.channels, reason)
        if not data.exact:
            self.constraints.no_shift(data.channels, f"the shift arrives scaled, and {reason}")
        self.inverse_edges.append((slot, data.channels))


ChannelValues: TypeAlias = list[ChannelValue | None]
TransferFunction: TypeAlias = Callable[[ir.Node, ChannelValues, AnalysisState], ChannelValue | None]


def expect(data: ChannelValue | None) -> ChannelValue:
    """Return ``data``, which is not None by what the caller has checked."""
    assert data is not None
    return data


def align_rank(node: ir.Node, channels: ChannelMap) -> ChannelMap:
    """Give ``channels`` as many axes as the first output of ``node`` has, which may be a broadcast one."""
    shape = node.outputs[0].shape
    if shape is None or len(shape) < channels.ndim:
        raise BlockedError(node, "has an output of unknown rank")
    return channels.reshape((1,) * (len(shape) - channels.ndim) + channels.shape)
