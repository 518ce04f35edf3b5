"""Folds of the calibration samples: each is left out once, so that the range of the other folds can be judged on it.

Whole samples are left out, never rows of one: those resemble each other. Groups of samples go into folds by falling
count, each into the fold with the fewest rows. Of a single group, rows are left out instead.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...calib.statistics import GROUPS, ChannelStatistics

FOLDS = 4
"""More gave the same choices within .3 dB."""


class Fold(NamedTuple):
    """The statistics of the samples in a fold's ``training`` part, and a mask of the sampled rows outside it, [R]."""

    training: ChannelStatistics
    left_out: NDArray[np.bool_]


def folds(values: Sequence[ChannelStatistics]) -> Iterator[tuple[Fold, ...]]:
    """Yield the folds, each with an entry for every one of ``values``, which were all measured on the same samples."""
    values = [_by_rows(value) if np.count_nonzero(value.counts) < 2 else value for value in values]
    places = _assigned(np.sum([value.counts for value in values], axis=0))
    for fold in range(FOLDS):
        is_left_out = places == fold
        split = tuple(Fold(value.without(is_left_out), is_left_out[value.groups]) for value in values)
        if all(one.training.count and one.left_out.any() for one in split):
            yield split


def _assigned(counts: NDArray[np.int64]) -> NDArray[np.intp]:
    """Return the fold of each group, [32]."""
    places, filled = np.full(GROUPS, -1), np.zeros(FOLDS)
    for group in np.argsort(-counts, kind="stable"):
        places[group] = fold = int(filled.argmin())
        filled[fold] += counts[group]
    return places


def _by_rows(value: ChannelStatistics) -> ChannelStatistics:
    """Return the sampled rows alone, each in a group as if they were samples."""
    groups, shape = np.arange(len(value.rows)) % GROUPS, value.lowest.shape
    lowest, highest = np.full(shape, np.inf), np.full(shape, -np.inf)
    np.minimum.at(lowest, groups, value.rows)
    np.maximum.at(highest, groups, value.rows)
    counts = np.bincount(groups, minlength=GROUPS).astype(np.int64)
    return replace(value, counts=counts, lowest=lowest, highest=highest, groups=groups)
