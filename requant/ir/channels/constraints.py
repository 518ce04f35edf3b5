"""Channel variables: an unknown transform (d, t) for each channel that has a producer, and the constraints on them.

A tie says that two variables have one scale, an opposition that one scale is the inverse of the other. Variables that
are tied form a class; what is said of one holds for its class. Variables that one consumer sees belong to one site.
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from .reshape import NO_CHANNEL, ChannelMap

Variables = NDArray[np.intp]


@dataclass
class _Notes:
    """Reasons for something, each with the variables that it concerns; the first one counts."""

    variables: list[Variables] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)

    def add(self, channels: ChannelMap, reason: str) -> None:
        self.variables.append(known(channels))
        self.reasons.append(reason)

    def first(self, labels: Variables, classes: int) -> Variables:
        """For each class the index of the first reason that concerns one of its variables, or -1."""
        found = np.full(classes, -1)
        for index in reversed(range(len(self.reasons))):
            found[labels[self.variables[index]]] = index
        return found


@dataclass(frozen=True)
class Solution:
    """What the constraints comes to. Arrays have an entry for each variable; the last one is for NO_CHANNEL.

    ``site`` is the number of the variable's site, or -1 when it is pinned. ``channel`` is its channel within the site:
    i for d_i, C + i for 1 / d_i, where C is the site's ``sizes`` entry, and -1 when it is pinned. ``pinned`` and
    ``fixed`` index ``pins`` and ``fixes``, the reasons why d = 1 and why t = 0; -1 is for none.
    """

    site: Variables
    channel: Variables
    sizes: Variables
    pinned: Variables
    fixed: Variables
    pins: list[str]
    fixes: list[str]

    def why_pinned(self, channels: ChannelMap) -> str:
        """The first reason why one of ``channels`` cannot be transformed."""
        found = self.pinned[channels].ravel()
        found = found[found >= 0]
        return self.pins[int(found.min())] if len(found) else "it is made of several values, some without a transform"

    def why_fixed(self, channels: ChannelMap) -> str | None:
        """The first reason why one of ``channels`` cannot be shifted, or None."""
        found = self.fixed[channels].ravel()
        found = found[found >= 0]
        return self.fixes[int(found.min())] if len(found) else None


class Constraints:
    """Collects what is known about channel variables while a graph is walked; `settle` draws the conclusions."""

    def __init__(self) -> None:
        self.size = 0
        self._restorable: list[NDArray[np.bool_]] = []
        self._ties: list[tuple[Variables, Variables]] = []
        self._opposed: list[tuple[Variables, Variables]] = []
        self._joined: list[Variables] = []
        self._pins, self._edges, self._fixes = _Notes(), _Notes(), _Notes()

    def allocate(self, count: int, *, restorable: bool = False) -> Variables:
        """New variables; where ``restorable``, a consumer that takes no transform is handed the value restored."""
        self._restorable.append(np.full(count, restorable))
        self.size += count
        return np.arange(self.size - count, self.size)

    def equal(self, a: ChannelMap, b: ChannelMap, reason: str) -> None:
        """d_a = d_b; what is tied to nobody is pinned for ``reason``."""
        self._relate(self._ties, a, b, reason)

    def inverse(self, a: ChannelMap, b: ChannelMap, reason: str) -> None:
        """d_a = 1 / d_b, where b keeps its sign in the end."""
        self._relate(self._opposed, a, b, reason)

    def group(self, channels: ChannelMap) -> None:
        """These belong to one site."""
        self._joined.append(known(channels))

    def pin(self, channels: ChannelMap, reason: str) -> None:
        """d = 1 and t = 0."""
        self._pins.add(channels, reason)

    def edge(self, channels: ChannelMap, reason: str) -> None:
        """Somebody reads the value as it is: restorable variables cost a node there, others are pinned."""
        self._edges.add(channels, reason)

    def no_shift(self, channels: ChannelMap, reason: str) -> None:
        """t = 0."""
        self._fixes.add(channels, reason)

    def _relate(self, pairs: list[tuple[Variables, Variables]], a: ChannelMap, b: ChannelMap, reason: str) -> None:
        a, b = (side.ravel() for side in np.broadcast_arrays(a, b))
        both = (a != NO_CHANNEL) & (b != NO_CHANNEL)
        pairs.append((a[both], b[both]))
        self.pin(np.concatenate([a[~both], b[~both]]), reason)

    def solve(self) -> Solution:
        """Which classes of tied variables are pinned or fixed, and why, and the sites that the free ones form."""
        labels, mirror = self._classes()
        size, classes = self.size, len(mirror)
        self.pin(np.flatnonzero(labels[:size] == labels[size:]), "it meets its own inverse")
        self._pin_edges(labels, classes)
        pinned, fixed = (notes.first(labels, classes) for notes in (self._pins, self._fixes))
        pinned = np.where(pinned < 0, pinned[mirror], pinned)
        canonical = self._canonical(labels, mirror)
        plain = np.where(canonical[labels[:size]], labels[:size], labels[size:])
        site, channel, sizes = self._sites(plain, pinned)
        inverted = np.flatnonzero((channel[:-1] >= 0) & (plain != labels[:size]))
        channel[inverted] += sizes[site[inverted]]
        pinned, fixed = (np.append(notes[labels[:size]], -1) for notes in (pinned, fixed))
        return Solution(site, channel, sizes, pinned, fixed, self._pins.reasons, self._fixes.reasons)

    def _classes(self) -> tuple[Variables, Variables]:
        """The class of each variable and, in the second half, of its inverse; and each class's mirror image."""
        size = self.size
        ties, opposed = (_flat(pairs) for pairs in (self._ties, self._opposed))
        left = np.concatenate([ties[0], ties[0] + size, opposed[0], opposed[0] + size])
        right = np.concatenate([ties[1], ties[1] + size, opposed[1] + size, opposed[1]])
        labels = _components(left, right, 2 * size)
        mirror = np.empty(labels.max(initial=-1) + 1, np.intp)
        mirror[labels] = np.roll(labels, size)
        return labels, mirror

    def _pin_edges(self, labels: Variables, classes: int) -> None:
        """Where one of a class cannot be restored, all that read it as it is pin it."""
        stiff = np.zeros(classes, bool)
        stiff[labels[: self.size][~np.concatenate([*self._restorable, np.zeros(0, bool)])]] = True
        for variables, reason in zip(self._edges.variables, self._edges.reasons, strict=True):
            self.pin(variables[stiff[labels[variables]]], reason)

    def _canonical(self, labels: Variables, mirror: Variables) -> NDArray[np.bool_]:
        """Which class of each mirrored pair keeps its sign: the right operands', else that of the first variable."""
        first = np.full(len(mirror), 2 * self.size)
        np.minimum.at(first, labels[: self.size], np.arange(self.size))
        right = _flat(self._opposed)[1]
        first[labels[right]] -= 2 * self.size
        return first <= first[mirror]

    def _sites(self, plain: Variables, pinned: Variables) -> tuple[Variables, Variables, Variables]:
        """Numbers of sites, and of channels within them, in the order of variables; and the sites' sizes."""
        free = np.flatnonzero(pinned[plain] < 0)
        site, channel = np.full(self.size + 1, NO_CHANNEL), np.full(self.size + 1, NO_CHANNEL)
        joined = [plain[group[pinned[plain[group]] < 0]] for group in self._joined]
        left = np.concatenate([group[:-1] for group in joined] + [np.zeros(0, np.intp)])
        right = np.concatenate([group[1:] for group in joined] + [np.zeros(0, np.intp)])
        together = _components(left, right, len(pinned))
        site[free] = _renumbered(together[plain[free]])
        classes, earliest, back = np.unique(plain[free], return_index=True, return_inverse=True)
        order = np.lexsort((earliest, site[free][earliest]))
        sizes = np.bincount(site[free][earliest], minlength=0)
        starts = np.cumsum(sizes) - sizes
        number = np.empty(len(classes), np.intp)
        number[order] = np.arange(len(classes)) - np.repeat(starts, sizes)
        channel[free] = number[back]
        return site, channel, sizes


def known(channels: ChannelMap) -> Variables:
    """The variables of a map, flat, without NO_CHANNEL."""
    flat = channels.ravel()
    found: Variables = flat[flat != NO_CHANNEL]
    return found


def _flat(pairs: list[tuple[Variables, Variables]]) -> tuple[Variables, Variables]:
    nothing = np.zeros(0, np.intp)
    return np.concatenate([a for a, _ in pairs] + [nothing]), np.concatenate([b for _, b in pairs] + [nothing])


def _components(left: Variables, right: Variables, size: int) -> Variables:
    graph = coo_array((np.ones(len(left), np.int8), (left, right)), shape=(size, size))
    labels: Variables = connected_components(graph, directed=False)[1].astype(np.intp)
    return labels


def _renumbered(labels: Variables) -> Variables:
    """The same partition, numbered by first appearance."""
    _, first, back = np.unique(labels, return_index=True, return_inverse=True)
    numbers: Variables = np.argsort(np.argsort(first))[back]
    return numbers
