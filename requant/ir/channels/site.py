"""A site: values that share one channel transform, and what takes part in changing it.

X' = (X - t) / d        W' = diag(d) W        b' = b + t W        ⇒  X' W' + b' = X W + b

Other tools call it a smoothing mapping.
"""

from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from ..linear import Linear
from ..norms import Norm
from ..traverse import Slot
from .embedding import Embedding
from .reshape import ChannelMap

Source: TypeAlias = Norm | Linear | Embedding
"""An op that can produce X': its parameters take (X - t) / d."""

SiteKind: TypeAlias = Literal[
    "LayerNorm", "RMSNorm", "BatchNorm", "Linear", "GatedMLP", "Attention", "QK", "Embedding", "Inserted"
]


@dataclass(frozen=True)
class Producer:
    """A source, and the site's channel at each of its output channels.

    In this and all other maps of a site of C channels, i < C is channel i, C + i is channel i with the inverse scale
    and no shift, and -1 is a channel that is not transformed.
    """

    source: Source
    channels: NDArray[np.intp]


@dataclass(frozen=True)
class Consumer:
    """A linear that absorbs the transform; ``channels[i]`` is the site's channel at its input channel i."""

    linear: Linear
    channels: NDArray[np.intp]


@dataclass(frozen=True)
class InverseEdge:
    """An input of another node, which gets X = X' d + t; ``channels`` broadcasts against that input."""

    slot: Slot
    channels: ChannelMap


@dataclass(frozen=True)
class AddedConstant:
    """A constant that is added to a transformed value and is divided by d; ``channels`` broadcasts against it."""

    slot: Slot
    channels: ChannelMap


@dataclass(frozen=True)
class Site:
    """Values that share one channel transform (d, t), and what takes part in changing it.

    ``kind`` is "LayerNorm", "RMSNorm" or "BatchNorm" after a norm; "Linear" from a linear layer straight to linear
    layers, "GatedMLP" through a product with another value, "Attention" from V through attention to the output
    projection, "QK" for the two sides of Q Kᵀ; "Embedding"; and "Inserted" where nothing upstream takes part, so that
    X' is computed for the consumers by a Mul and an Add at run time. ``shift_blocked`` is the reason why t must be 0,
    or None when a shift is allowed.
    """

    kind: SiteKind
    name: str
    channels: int
    producers: tuple[Producer, ...]
    consumers: tuple[Consumer, ...]
    inverse_edges: tuple[InverseEdge, ...] = ()
    added_constants: tuple[AddedConstant, ...] = ()
    shift_blocked: str | None = None

    @property
    def values(self) -> tuple[ir.Value, ...]:
        """The values that producers transform; of an inserted site, those that the consumers read."""
        outputs = tuple(producer.source.output for producer in self.producers)
        return outputs or tuple(dict.fromkeys(consumer.linear.data for consumer in self.consumers))
