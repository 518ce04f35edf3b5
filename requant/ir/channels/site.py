"""A site: values that share one channel basis, and who takes part in changing it.

X' = (X - t) / d        W' = diag(d) W        b' = b + t W        ⇒  X' W' + b' = X W + b
"""

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from ..linear import Linear
from ..norms import Norm, Slot
from .embedding import Embedding
from .reshape import ChannelMap

Source = Norm | Linear | Embedding
"""What can produce X': its parameters take (X - t) / d."""


@dataclass(frozen=True)
class Writer:
    """A source, and the site's channel at each of its output channels.

    In this and all other maps of a site of C channels, i < C is channel i, C + i is channel i with the inverse scale
    and no shift, and -1 is what stays as it is.
    """

    source: Source
    channels: NDArray[np.intp]


@dataclass(frozen=True)
class Reader:
    """A linear that absorbs the basis; ``channels[i]`` is the site's channel at its input channel i."""

    linear: Linear
    channels: NDArray[np.intp]


@dataclass(frozen=True)
class Restored:
    """An input of another node, which is handed X = X' d + t; ``channels`` broadcasts against that input."""

    slot: Slot
    channels: ChannelMap


@dataclass(frozen=True)
class Operand:
    """A constant that is added to a re-based value and is divided by d; ``channels`` broadcasts against it."""

    slot: Slot
    channels: ChannelMap


@dataclass(frozen=True)
class Site:
    """Values that share one channel basis (d, t), and who takes part in changing it.

    ``kind`` is "LayerNorm", "RMSNorm" or "BatchNorm" after a norm; "Linear" from a linear layer straight to linear
    layers, "Gated" through a product with another value, "Attention" from V through attention to the output projection,
    "Product" for the two sides of Q Kᵀ; "Embedding"; and "Explicit" where nothing upstream takes part, so that
    X' is computed for the readers by nodes of its own. ``fixed_shift`` is the reason why t must be 0, or None when a
    shift is allowed.
    """

    kind: str
    name: str
    channels: int
    writers: tuple[Writer, ...]
    readers: tuple[Reader, ...]
    restored: tuple[Restored, ...] = ()
    operands: tuple[Operand, ...] = ()
    fixed_shift: str | None = None

    @property
    def values(self) -> tuple[ir.Value, ...]:
        """The values that writers re-base; of an explicit site, those that the readers read."""
        own = tuple(writer.source.output for writer in self.writers)
        return own or tuple(dict.fromkeys(reader.linear.data for reader in self.readers))


@dataclass(frozen=True)
class Refused:
    """A place that looks like a site and is none; ``layers`` names the linear layers that read it all the same."""

    kind: str
    name: str
    reason: str
    layers: tuple[str, ...] = ()
