"""A transform of a site's channels: X' = (X - t) / d."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..channels.reshape import ChannelMap


@dataclass(frozen=True)
class ChannelTransform:
    """A per-channel transform X' = (X - shift) / scale; both have shape [C], scale is positive."""

    scale: NDArray[np.float64]
    shift: NDArray[np.float64]

    @classmethod
    def identity(cls, channels: int) -> "ChannelTransform":
        """Return the transform that changes nothing."""
        return cls(np.ones(channels), np.zeros(channels))

    @property
    def unshifted(self) -> "ChannelTransform":
        """The scale alone."""
        return ChannelTransform(self.scale, np.zeros_like(self.shift))

    @property
    def is_identity(self) -> bool:
        """True when it changes nothing."""
        return not self.shifts and not self.scales

    @property
    def scales(self) -> bool:
        """True when any channel is scaled."""
        return bool(np.any(self.scale != 1))

    @property
    def shifts(self) -> bool:
        """True when any channel is shifted."""
        return bool(np.any(self.shift != 0))

    def at(self, channels: ChannelMap) -> "ChannelTransform":
        """Return the transform at each element of a site's map, in the map's shape.

        i < C is channel i; C + i has the inverse scale and no shift; -1 is the identity.
        """
        scale = np.concatenate([self.scale, 1 / self.scale, [1.0]])
        shift = np.concatenate([self.shift, np.zeros(len(self.shift) + 1)])
        return ChannelTransform(scale[channels], shift[channels])
