"""What is rounded before a HardSwish, in the scales of what comes out of it:

    x' = x / d, y' = y / d        max |y_c|  ←  max(y_c, x_c, -low_c / 2)        low_c = max(-3, min x_c)

On integers both are rounded, so that a channel needs the range of both. What lies below -3 the gate makes 0 of; and the
integers of x have a zero point, so that a range from -n to n / 2 takes no larger steps than one from 0 to n.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ...calib.activations import activation
from ...ir.channels.site import InverseEdge, Site
from ...ir.scaled_hard_swish import LARGEST_CODE, OFFSET, SLOPE, gated_product
from ...ir.transform.transform import ChannelTransform
from .part import Part

_LOWEST = -OFFSET / SLOPE
"""The data below which the gate is 0."""


def gates(site: Site) -> list[InverseEdge]:
    """Return the inverse edges of ``site`` that are the data of the gate of a HardSwish."""
    return [edge for edge in site.inverse_edges if gated_product(edge.slot[0], edge.slot[0].inputs[edge.slot[1]])]


def in_uint8(edges: Sequence[InverseEdge], transform: ChannelTransform) -> ChannelTransform:
    """Return ``transform`` with scales that the Mul at each of ``edges`` reads as uint8: whole steps of its largest."""
    scale = transform.scale.copy()
    for edge in edges:
        channels = np.unique(edge.channels[(edge.channels >= 0) & (edge.channels < len(scale))])
        step = scale[channels].max() / LARGEST_CODE
        scale[channels] = np.maximum(np.round(scale[channels] / step), 1) * step
    return replace(transform, scale=scale) if edges else transform


def with_gates(parts: Iterable[Part], site: Site) -> list[Part]:
    """Return ``parts`` of ``site`` with the ranges of what is rounded before a HardSwish too."""
    edges = gates(site)
    if not edges:
        return list(parts)
    low, high = np.full(site.channels + 1, np.inf), np.full(site.channels + 1, -np.inf)
    for edge in edges:
        _add(edge, low, high)
    return [_widened(part, low, high) for part in parts]


def _add(edge: InverseEdge, low: NDArray[np.float64], high: NDArray[np.float64]) -> None:
    """Add the range of the data of the gate at ``edge`` to those of the site's channels; the last entry is none's."""
    entry, channels = activation(edge.slot[0].inputs[edge.slot[1]]), edge.channels.ravel()
    if entry is not None and entry.statistics is not None and len(entry.statistics.minimum) == len(channels):
        np.minimum.at(low, channels, np.maximum(entry.statistics.minimum, _LOWEST) / 2)
        np.maximum.at(high, channels, entry.statistics.maximum)


def _widened(part: Part, low: NDArray[np.float64], high: NDArray[np.float64]) -> Part:
    stats, channels = part.statistics, np.where(part.channels < len(low), part.channels, -1)
    lowest, highest = np.minimum(stats.lowest, low[channels]), np.maximum(stats.highest, high[channels])
    is_present = (stats.counts > 0)[:, None]
    widened = replace(
        stats,
        lowest=np.where(is_present, lowest, stats.lowest),
        highest=np.where(is_present, highest, stats.highest),
    )
    return replace(part, statistics=widened)
