"""What a solver may look at: the values of a site that are to be quantized, and the weights that read them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...calib.collect import statistics
from ...calib.statistics import ChannelStatistics
from ...ir.channels.site import Consumer, Site
from ...ir.linear import Linear
from ..select_layers import is_quantized
from .folds import folds

ORDER = "requant.order"
"""Key in `Value.meta` of the original channel of each channel of a value that was split, [C]."""


@dataclass(frozen=True)
class Part:
    """One value of K channels that gets a quantizer, and its consumers' weights side by side as a matrix [K, N].

    ``channels[i]`` is the site's channel at the value's channel i, as in `requant.ir.channels.site`.
    """

    statistics: ChannelStatistics
    channels: NDArray[np.intp]
    matrix: NDArray[np.float32]

    @cached_property
    def product(self) -> NDArray[np.float32]:
        """What the consumers compute from the sampled rows, without their biases: [R, N]."""
        product: NDArray[np.float32] = self.statistics.rows @ self.matrix
        return product

    @cached_property
    def size(self) -> NDArray[np.float64]:
        """The squared norm of what the consumers compute from each sampled row, [R]."""
        size: NDArray[np.float64] = np.square(self.product).sum(axis=1, dtype=np.float64)
        return size

    @cached_property
    def energy(self) -> NDArray[np.float64]:
        """Σ w² over all that the consumers multiply each channel by, [K]."""
        energy: NDArray[np.float64] = np.square(self.matrix).sum(axis=1, dtype=np.float64)
        return energy


@dataclass(frozen=True)
class Observation:
    """A site of C channels as a solver sees it; nothing here can change the graph.

    ``shiftable`` says whether t may differ from 0. ``written`` is the largest |w| with which a linear layer that is to
    be quantized writes each channel, [C], 0 for a channel that none writes; None where there is no such layer.
    ``order`` is the original channel of each channel, [C], where channels have copies, else None.
    """

    channels: int
    parts: tuple[Part, ...]
    shiftable: bool
    written: NDArray[np.float64] | None = None
    order: NDArray[np.intp] | None = None

    @cached_property
    def folds(self) -> tuple["HeldOut", ...]:
        """The folds of the samples (`requant.passes.cost_model.folds`)."""
        found = folds([part.statistics for part in self.parts])
        return tuple(
            HeldOut(self._trained([one.training for one in fold]), tuple(one.left_out for one in fold))
            for fold in found
        )

    def prepare(self) -> None:
        """Compute what all candidates share, before they are assessed side by side."""
        _ = self.folds, [(part.size, part.energy) for part in self.parts]

    def _trained(self, training: Sequence[ChannelStatistics]) -> "Observation":
        parts = (replace(part, statistics=seen) for part, seen in zip(self.parts, training, strict=True))
        return replace(self, parts=tuple(parts))

    @cached_property
    def minimum(self) -> NDArray[np.float64]:
        """Smallest value of each channel, [C]."""
        return self.folded(np.inf, np.minimum, lambda part: part.statistics.minimum)

    @cached_property
    def maximum(self) -> NDArray[np.float64]:
        """Largest value of each channel, [C]."""
        return self.folded(-np.inf, np.maximum, lambda part: part.statistics.maximum)

    @cached_property
    def weight_reach(self) -> NDArray[np.float64]:
        """Largest |w| that any consumer multiplies each channel by, [C]."""
        return self.folded(0.0, np.maximum, lambda part: np.abs(part.matrix).max(axis=1).astype(np.float64))

    @cached_property
    def weight_norm(self) -> NDArray[np.float64]:
        """√ Σ w² over all that consumers multiply each channel by, [C]."""
        norm: NDArray[np.float64] = np.sqrt(self.folded(0.0, np.add, lambda part: part.energy))
        return norm

    @cached_property
    def mean_magnitude(self) -> NDArray[np.float64]:
        """Largest mean |x| of each channel in any value, over the sampled rows, [C]."""
        return self.folded(0.0, np.maximum, lambda part: np.abs(part.statistics.rows).mean(axis=0, dtype=np.float64))

    @property
    def centre(self) -> NDArray[np.float64]:
        """Middle of each channel's range [C], or zeros where no shift is allowed."""
        middle = (self.minimum + self.maximum) / 2
        return middle if self.shiftable else np.zeros_like(middle)

    def reach(self, shift: NDArray[np.float64]) -> NDArray[np.float64]:
        """Largest |x - shift| of each channel, [C]."""
        return np.maximum(self.maximum - shift, shift - self.minimum)

    def folded(self, start: float, keep: np.ufunc, find: Callable[[Part], NDArray[np.float64]]) -> NDArray[np.float64]:
        """What ``find`` gives for the K channels of each part, merged by ``keep``: [C], 0 for a channel no part has."""
        into = np.full(self.channels, start)
        for part in self.parts:
            _fold(find(part), part.channels, into, keep)
        folded: NDArray[np.float64] = np.where(np.isfinite(into), into, 0.0)
        return folded


class HeldOut(NamedTuple):
    """A site as it looks without the samples of a fold, and which rows of each part are theirs, [R] each."""

    training: Observation
    left_out: tuple[NDArray[np.bool_], ...]


def observe(site: Site) -> Observation | None:
    """The observation of ``site``, or None when a quantized consumer's input was not calibrated along its channels."""
    parts = [_part(group) for group in observed(site)]
    known = tuple(part for part in parts if part is not None)
    if len(known) < len(parts):
        return None
    return Observation(site.channels, known, site.shift_blocked is None, _written(site), _order(site))


def observed(site: Site) -> list[list[Consumer]]:
    """The quantized consumers of each value, in the order of an observation's parts."""
    consumers: dict[int, list[Consumer]] = {}
    for consumer in site.consumers:
        if is_quantized(consumer.linear):
            consumers.setdefault(id(consumer.linear.current_data), []).append(consumer)
    return list(consumers.values())


def _order(site: Site) -> NDArray[np.intp] | None:
    found = None if site.producers or len(site.values) > 1 else site.values[0].meta.get(ORDER)
    return found if isinstance(found, np.ndarray) else None


def _part(consumers: list[Consumer]) -> Part | None:
    """Readers of one value side by side, each weight once: one product instead of three for Q, K, V."""
    part, channels = part_of([consumer.linear for consumer in consumers]), consumers[0].channels
    return None if part is None or len(part.channels) != len(channels) else replace(part, channels=channels)


def part_of(consumers: Sequence[Linear]) -> Part | None:
    """The value that ``consumers`` share, in its own channels; None if there are none or it was not calibrated."""
    seen = statistics(consumers[0].current_data) if consumers else None
    if seen is None or len(seen.minimum) != consumers[0].inputs:
        return None
    matrices = [linear.matrix() for linear in {linear.weight: linear for linear in consumers}.values()]
    return Part(seen, np.arange(consumers[0].inputs), np.concatenate(matrices, axis=1))


def _written(site: Site) -> NDArray[np.float64] | None:
    into, found = np.zeros(site.channels), False
    for producer in site.producers:
        if isinstance(producer.source, Linear) and is_quantized(producer.source):
            _fold(_reach(producer.source), producer.channels, into, np.maximum)
            found = True
    return into if found else None


def _reach(linear: Linear) -> NDArray[np.float64]:
    """Largest |w| of each output channel."""
    weight = linear.weight.const_value
    assert weight is not None
    data = np.moveaxis(weight.numpy().astype(np.float32, copy=False), linear.out_axis, 0)
    reach: NDArray[np.float64] = np.abs(data.reshape(linear.outputs, -1)).max(axis=1).astype(np.float64)
    return reach


def _fold(found: NDArray[np.float64], channels: NDArray[np.intp], into: NDArray[np.float64], keep: np.ufunc) -> None:
    """Let ``keep`` merge what was found for each of some channels into the site's channels."""
    inside = (channels >= 0) & (channels < len(into))
    keep.at(into, channels[inside], found[inside])
