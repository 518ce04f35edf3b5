"""Observations: the statistics of a site's values that are to be quantized, and the weights of their consumers."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...calib.statistics import ChannelStatistics
from ...ir.channels.site import Consumer, Site
from ...ir.linear import Linear
from ..annotations import CHANNEL_ORDER, is_quantized
from .folds import folds
from .gates import with_gates
from .part import Part, part_of


@dataclass(frozen=True)
class Observation:
    """A site of C channels as data for a solver; nothing here can change the graph.

    ``shiftable`` says whether t may differ from 0. ``producer_reach`` is the largest |w| with which a linear layer
    that is to be quantized produces each channel, [C], 0 where none does; None where there is no such layer.
    ``order`` is the original channel of each channel, [C], where channels have copies, else None.
    """

    channels: int
    parts: tuple[Part, ...]
    shiftable: bool
    producer_reach: NDArray[np.float64] | None = None
    order: NDArray[np.intp] | None = None

    @cached_property
    def folds(self) -> tuple["HeldOut", ...]:
        """The folds of the samples (`requant.passes.cost_model.folds`)."""
        return tuple(
            HeldOut(self._with([one.training for one in fold]), tuple(one.left_out for one in fold))
            for fold in folds([part.statistics for part in self.parts])
        )

    def prepare(self) -> None:
        """Compute the properties that all candidates use, before they are assessed side by side."""
        _ = self.folds, [(part.size, part.energy) for part in self.parts]

    def _with(self, statistics: Sequence[ChannelStatistics]) -> "Observation":
        parts = (replace(part, statistics=stats) for part, stats in zip(self.parts, statistics, strict=True))
        return replace(self, parts=tuple(parts))

    @cached_property
    def minimum(self) -> NDArray[np.float64]:
        """The smallest value of each channel, [C]."""
        return self.merged(np.inf, np.minimum, lambda part: part.statistics.minimum)

    @cached_property
    def maximum(self) -> NDArray[np.float64]:
        """The largest value of each channel, [C]."""
        return self.merged(-np.inf, np.maximum, lambda part: part.statistics.maximum)

    @cached_property
    def weight_reach(self) -> NDArray[np.float64]:
        """The largest |w| that any consumer multiplies each channel by, [C]."""
        return self.merged(0.0, np.maximum, lambda part: np.abs(part.matrix).max(axis=1).astype(np.float64))

    @cached_property
    def weight_norm(self) -> NDArray[np.float64]:
        """√ Σ w² over all that consumers multiply each channel by, [C]."""
        norm: NDArray[np.float64] = np.sqrt(self.merged(0.0, np.add, lambda part: part.energy))
        return norm

    @cached_property
    def mean_magnitude(self) -> NDArray[np.float64]:
        """The largest mean |x| of each channel in any value, over the sampled rows, [C]."""
        return self.merged(0.0, np.maximum, lambda part: np.abs(part.statistics.rows).mean(axis=0, dtype=np.float64))

    @property
    def centre(self) -> NDArray[np.float64]:
        """The middle of each channel's range [C], or zeros where no shift is allowed."""
        middle = (self.minimum + self.maximum) / 2
        return middle if self.shiftable else np.zeros_like(middle)

    def reach(self, shift: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the largest |x - shift| of each channel, [C]."""
        return np.maximum(self.maximum - shift, shift - self.minimum)

    def merged(
        self, start: float, merge: np.ufunc, compute: Callable[[Part], NDArray[np.float64]]
    ) -> NDArray[np.float64]:
        """Compute an array [K] for each part, and ``merge`` them: [C], 0 for a channel that no part has."""
        total = np.full(self.channels, start)
        for part in self.parts:
            _merge(compute(part), part.channels, total, merge)
        result: NDArray[np.float64] = np.where(np.isfinite(total), total, 0.0)
        return result


class HeldOut(NamedTuple):
    """The observation of a site without the samples of a fold, and a mask of their rows in each part, [R] each."""

    training: Observation
    left_out: tuple[NDArray[np.bool_], ...]


def observe(site: Site) -> Observation | None:
    """Return the observation of ``site``, or None where a quantized consumer lacks statistics along its channels."""
    groups = quantized_consumers(site)
    parts = tuple(with_gates((part for group in groups if (part := _part(group)) is not None), site))
    if len(parts) < len(groups):
        return None
    shiftable = site.shift_blocked is None and all(part.may_be_shifted for part in parts)
    return Observation(site.channels, parts, shiftable, _producer_reach(site), _order(site))


def quantized_consumers(site: Site) -> list[list[Consumer]]:
    """Return the quantized consumers of each value, in the order of an observation's parts."""
    consumers: dict[int, list[Consumer]] = {}
    for consumer in site.consumers:
        if is_quantized(consumer.linear):
            consumers.setdefault(id(consumer.linear.current_data), []).append(consumer)
    return list(consumers.values())


def _order(site: Site) -> NDArray[np.intp] | None:
    return None if site.producers or len(site.values) > 1 else CHANNEL_ORDER.get(site.values[0])


def _part(consumers: list[Consumer]) -> Part | None:
    """Return the part of the consumers of one value, each weight once: one product instead of three for Q, K, V."""
    part, channels = part_of([consumer.linear for consumer in consumers]), consumers[0].channels
    return None if part is None or len(part.channels) != len(channels) else replace(part, channels=channels)


def _producer_reach(site: Site) -> NDArray[np.float64] | None:
    """Return the largest |w| with which quantized layers produce each channel, or None where there is no such layer."""
    reach = np.zeros(site.channels)
    sources = [
        (producer.source, producer.channels)
        for producer in site.producers
        if isinstance(producer.source, Linear) and is_quantized(producer.source)
    ]
    for linear, channels in sources:
        _merge(_reach(linear), channels, reach, np.maximum)
    return reach if sources else None


def _reach(linear: Linear) -> NDArray[np.float64]:
    """Return the largest |w| of each output channel."""
    weight = linear.weight.const_value
    assert weight is not None
    data = np.moveaxis(weight.numpy().astype(np.float32, copy=False), linear.out_axis, 0)
    reach: NDArray[np.float64] = np.abs(data.reshape(linear.outputs, -1)).max(axis=1).astype(np.float64)
    return reach


def _merge(
    values: NDArray[np.float64], channels: NDArray[np.intp], total: NDArray[np.float64], merge: np.ufunc
) -> None:
    """Merge the ``values`` of some ``channels`` into the ``total`` of the site's channels, in place."""
    inside = (channels >= 0) & (channels < len(total))
    merge.at(total, channels[inside], values[inside])
