"""Channel variables: an unknown transform (d, t) for each channel that has a producer, and the constraints on them.

Two variables may be required to be equal, or one to be the inverse of the other. Equal variables form a class;
a constraint on one holds for its class. Variables that one consumer reads are grouped in one site.
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from .reshape import NO_CHANNEL, ChannelMap

Variables = NDArray[np.intp]


@dataclass
class _Reasons:
    """Reasons for a constraint, each with the variables that it concerns; the first one counts."""

    variables: list[Variables] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)

    def add(self, channels: ChannelMap, reason: str) -> None:
        self.variables.append(variables_of(channels))
        self.texts.append(reason)

    def first(self, labels: Variables, classes: int) -> Variables:
        """Return for each class the index of the first reason that concerns one of its variables, or -1."""
        indices = np.full(classes, -1)
        for index in reversed(range(len(self.texts))):
            indices[labels[self.variables[index]]] = index
        return indices


@dataclass(frozen=True)
class Solution:
    """The sites that fulfil the constraints. Arrays have an entry for each variable; the last one is for NO_CHANNEL.

    ``site`` is the number of the variable's site, or -1 when it is pinned. ``channel`` is its channel within the site:
    i for d_i, C + i for 1 / d_i, where C is the site's ``sizes`` entry, and -1 when it is pinned. ``pin`` and
    ``no_shift`` index ``pin_reasons`` and ``no_shift_reasons``, which say why d = 1 and why t = 0; -1 is for none.
    """

    site: Variables
    channel: Variables
    sizes: Variables
    pin: Variables
    no_shift: Variables
    pin_reasons: list[str]
    no_shift_reasons: list[str]

    def pin_reason(self, channels: ChannelMap) -> str | None:
        """Return the first reason why one of ``channels`` cannot be transformed, if there is one."""
        return _first_reason(self.pin[channels], self.pin_reasons)

    def no_shift_reason(self, channels: ChannelMap) -> str | None:
        """Return the first reason why one of ``channels`` cannot be shifted, if there is one."""
        return _first_reason(self.no_shift[channels], self.no_shift_reasons)


class Constraints:
    """The constraints on channel variables that the walk over a graph collects; `solve` finds the sites."""

    def __init__(self) -> None:
        self.size = 0
        self._invertible: list[NDArray[np.bool_]] = []
        self._equal_pairs: list[tuple[Variables, Variables]] = []
        self._inverse_pairs: list[tuple[Variables, Variables]] = []
        self._groups: list[Variables] = []
        self._pins, self._inverse_edges, self._no_shifts = _Reasons(), _Reasons(), _Reasons()

    def allocate(self, count: int, *, invertible: bool = False) -> Variables:
        """Return new variables; ``invertible`` ones may have inverse edges, which pin further variables."""
        self._invertible.append(np.full(count, invertible))
        self.size += count
        return np.arange(self.size - count, self.size)

    def equal(self, a: ChannelMap, b: ChannelMap, reason: str) -> None:
        """Require d_a = d_b; variables opposite NO_CHANNEL are pinned for ``reason``."""
        self._relate(self._equal_pairs, a, b, reason)

    def inverse(self, a: ChannelMap, b: ChannelMap, reason: str) -> None:
        """Require d_a = 1 / d_b, where the site's channel is b; the rest is as in `equal`."""
        self._relate(self._inverse_pairs, a, b, reason)

    def group(self, channels: ChannelMap) -> None:
        """Require that ``channels`` belong to one site."""
        self._groups.append(variables_of(channels))

    def pin(self, channels: ChannelMap, reason: str) -> None:
        """Require d = 1 and t = 0."""
        self._pins.add(channels, reason)

    def inverse_edge(self, channels: ChannelMap, reason: str) -> None:
        """Note a consumer that needs the original value: invertible variables cost a node; the rest are pinned."""
        self._inverse_edges.add(channels, reason)

    def no_shift(self, channels: ChannelMap, reason: str) -> None:
        """Require t = 0."""
        self._no_shifts.add(channels, reason)

    def _relate(self, pairs: list[tuple[Variables, Variables]], a: ChannelMap, b: ChannelMap, reason: str) -> None:
        a, b = (side.ravel() for side in np.broadcast_arrays(a, b))
        both = (a != NO_CHANNEL) & (b != NO_CHANNEL)
        pairs.append((a[both], b[both]))
        self.pin(np.concatenate([a[~both], b[~both]]), reason)

    def solve(self) -> Solution:
        """Find the sites, the variables that are in none, and the reasons."""
        labels, mirror = self._classes()
        size, classes = self.size, len(mirror)
        self.pin(np.flatnonzero(labels[:size] == labels[size:]), "its scale would have to equal its own inverse")
        self._pin_inverse_edges(labels, classes)
        pin, no_shift = (reasons.first(labels, classes) for reasons in (self._pins, self._no_shifts))
        pin = np.where(pin < 0, pin[mirror], pin)
        canonical = self._canonical(labels, mirror)
        direct = np.where(canonical[labels[:size]], labels[:size], labels[size:])
        site, channel, sizes = self._sites(direct, pin)
        inverses = np.flatnonzero((channel[:-1] >= 0) & (direct != labels[:size]))
        channel[inverses] += sizes[site[inverses]]
        pin, no_shift = (np.append(indices[labels[:size]], -1) for indices in (pin, no_shift))
        return Solution(site, channel, sizes, pin, no_shift, self._pins.texts, self._no_shifts.texts)

    def _classes(self) -> tuple[Variables, Variables]:
        """Return the class of each variable and, in the second half, of its inverse; and each class's mirror image."""
        size = self.size
        equal, inverse = (_flat(pairs) for pairs in (self._equal_pairs, self._inverse_pairs))
        left = np.concatenate([equal[0], equal[0] + size, inverse[0], inverse[0] + size])
        right = np.concatenate([equal[1], equal[1] + size, inverse[1] + size, inverse[1]])
        labels = _components(left, right, 2 * size)
        mirror = np.empty(labels.max(initial=-1) + 1, np.intp)
        mirror[labels] = np.roll(labels, size)
        return labels, mirror

    def _pin_inverse_edges(self, labels: Variables, classes: int) -> None:
        """Pin the classes that have inverse edges and a variable that is not invertible."""
        rigid = np.zeros(classes, bool)
        rigid[labels[: self.size][~np.concatenate([*self._invertible, np.zeros(0, bool)])]] = True
        for variables, reason in zip(self._inverse_edges.variables, self._inverse_edges.texts, strict=True):
            self.pin(variables[rigid[labels[variables]]], reason)

    def _canonical(self, labels: Variables, mirror: Variables) -> NDArray[np.bool_]:
        """Choose one class of each mirrored pair: that of right operands, else that of the first variable."""
        first = np.full(len(mirror), 2 * self.size)
        np.minimum.at(first, labels[: self.size], np.arange(self.size))
        right = _flat(self._inverse_pairs)[1]
        first[labels[right]] -= 2 * self.size
        return first <= first[mirror]

    def _sites(self, direct: Variables, pin: Variables) -> tuple[Variables, Variables, Variables]:
        """Number the sites, and the channels within them, in the order of variables; return the sites' sizes too."""
        variables = np.flatnonzero(pin[direct] < 0)
        site, channel = np.full(self.size + 1, NO_CHANNEL), np.full(self.size + 1, NO_CHANNEL)
        groups = [direct[group[pin[direct[group]] < 0]] for group in self._groups]
        left = np.concatenate([group[:-1] for group in groups] + [np.zeros(0, np.intp)])
        right = np.concatenate([group[1:] for group in groups] + [np.zeros(0, np.intp)])
        components = _components(left, right, len(pin))
        site[variables] = _renumber(components[direct[variables]])
        classes, earliest, back = np.unique(direct[variables], return_index=True, return_inverse=True)
        order = np.lexsort((earliest, site[variables][earliest]))
        sizes = np.bincount(site[variables][earliest], minlength=0)
        starts = np.cumsum(sizes) - sizes
        number = np.empty(len(classes), np.intp)
        number[order] = np.arange(len(classes)) - np.repeat(starts, sizes)
        channel[variables] = number[back]
        return site, channel, sizes


def variables_of(channels: ChannelMap) -> Variables:
    """List the variables of a map, flat, without NO_CHANNEL."""
    flat = channels.ravel()
    variables: Variables = flat[flat != NO_CHANNEL]
    return variables


def _first_reason(indices: Variables, reasons: list[str]) -> str | None:
    indices = indices.ravel()
    indices = indices[indices >= 0]
    return reasons[int(indices.min())] if len(indices) else None


def _flat(pairs: list[tuple[Variables, Variables]]) -> tuple[Variables, Variables]:
    empty = np.zeros(0, np.intp)
    return np.concatenate([a for a, _ in pairs] + [empty]), np.concatenate([b for _, b in pairs] + [empty])


def _components(left: Variables, right: Variables, size: int) -> Variables:
    graph = coo_array((np.ones(len(left), np.int8), (left, right)), shape=(size, size))
    labels: Variables = connected_components(graph, directed=False)[1].astype(np.intp)
    return labels


def _renumber(labels: Variables) -> Variables:
    """Number the parts of the same partition by first appearance."""
    _, first, back = np.unique(labels, return_index=True, return_inverse=True)
    numbers: Variables = np.argsort(np.argsort(first))[back]
    return numbers
