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
    slots = [(edge, *edge.slot) for edge in site.inverse_edges]
    return [edge for edge, node, position in slots if gated_product(node, node.inputs[position]) is not None]


def free_nodes(edges: Iterable[InverseEdge], transform: ChannelTransform) -> int:
    """Count the Muls that ``transform`` adds at ``edges``: on integers each takes the place of another kernel."""
    return sum(transform.at(edge.channels).scales for edge in edges)


def in_uint8(edges: Sequence[InverseEdge], transform: ChannelTransform) -> ChannelTransform:
    """Return ``transform`` with scales that the Mul at each of ``edges`` reads as uint8: whole steps of its largest."""
    scale = transform.scale.copy()
    for edge in edges:
        channels = edge.channels[_is_direct(edge.channels, len(scale))]
        step = scale[channels].max(initial=0.0) / LARGEST_CODE
        scale[channels] = np.maximum(np.round(scale[channels] / step), 1) * step
    return replace(transform, scale=scale) if edges else transform


def with_gates(parts: Iterable[Part], site: Site) -> list[Part]:
    """Return ``parts`` of ``site`` with the ranges of what is rounded before a HardSwish too."""
    edges = gates(site)
    if not edges:
        return list(parts)
    low, high = np.full(site.channels, np.inf), np.full(site.channels, -np.inf)
    for edge in edges:
        _add(edge, low, high)
    return [_widened(part, low, high) for part in parts]


def _add(edge: InverseEdge, low: NDArray[np.float64], high: NDArray[np.float64]) -> None:
    """Add the range of the data of the gate at ``edge`` to ``low`` and ``high`` of the site's channels, in place."""
    entry, channels = activation(edge.slot[0].inputs[edge.slot[1]]), edge.channels.ravel()
    if entry is not None and entry.statistics is not None and len(entry.statistics.minimum) == len(channels):
        inside = _is_direct(channels, len(low))
        np.minimum.at(low, channels[inside], np.maximum(entry.statistics.minimum, _LOWEST)[inside] / 2)
        np.maximum.at(high, channels[inside], entry.statistics.maximum[inside])


def _widened(part: Part, low: NDArray[np.float64], high: NDArray[np.float64]) -> Part:
    """Return ``part`` with the range of each of the site's channels that reaches from ``low`` to ``high``."""
    stats, inside = part.statistics, _is_direct(part.channels, len(low))
    channels, is_measured = part.channels[inside], np.ix_(stats.counts > 0, inside)
    lowest, highest = stats.lowest.copy(), stats.highest.copy()
    lowest[is_measured] = np.minimum(lowest[is_measured], low[channels])
    highest[is_measured] = np.maximum(highest[is_measured], high[channels])
    return replace(part, statistics=replace(stats, lowest=lowest, highest=highest))


def _is_direct(channels: NDArray[np.intp], count: int) -> NDArray[np.bool_]:
    """Tell which of ``channels`` have a scale of a site of ``count``, and neither an inverse one nor none."""
    return (channels >= 0) & (channels < count)
