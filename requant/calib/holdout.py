"""Held-out samples of the calibration data: nothing is calibrated on them, so that measurements on them are fair.

Whole feeds are held out, never rows of one: those resemble each other. The choice depends on the contents of feeds and
not on their order; feeds that are equal stay together.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from hashlib import blake2b

import numpy as np

from ..runtime.feeds import Feed
from .collect import fingerprint
from .sources import Batches

SHARE = 6
"""The number of feeds of which one is held out."""

FEWEST_SAMPLES, FEWEST_FEEDS = 12, 4
"""The least data to hold any out of: a quarter of 8 documents costs MiniLM half a decibel."""

MOST = 32
"""Samples that are held out at most, unless a single feed has more."""

MOST_FOR_METRIC = 256
"""The same where a metric judges, which may count samples: one of 32 is 3 %."""


@dataclass(frozen=True)
class Split:
    """The calibration data in two parts: ``training`` sets ranges and transforms, ``held_out`` judges them, if any.

    ``samples`` is the number of held-out samples; ``is_held_out`` tells of each feed of ``data``, which are both parts,
    whether it is.
    """

    training: Batches
    held_out: Batches | None = None
    samples: int = 0
    is_held_out: Callable[[Feed], bool] = lambda feed: False
    data: Batches | None = None


def split(data: Batches, samples: Callable[[Feed], int], most: int = MOST) -> Split:
    """Split the data by content; ``samples`` counts those of a feed, ``most`` are held out.

    Takes one pass over the data. Each iteration over a part is another one.
    """
    sizes = {_priority(feed): samples(feed) for feed in data}
    if sum(sizes.values()) < FEWEST_SAMPLES or len(sizes) < FEWEST_FEEDS:
        return Split(data)
    order = sorted(sizes)
    cumulative = np.cumsum([sizes[priority] for priority in order])
    feeds = max(1, min(len(order) // SHARE, int(np.searchsorted(cumulative, most, side="right"))))
    last = order[feeds - 1]

    def is_held_out(feed: Feed) -> bool:
        return _priority(feed) <= last

    training, held_out = (_part(data, is_held_out, held_out=flag) for flag in (False, True))
    return Split(training, held_out, int(cumulative[feeds - 1]), is_held_out, data)


def _part(data: Batches, is_held_out: Callable[[Feed], bool], *, held_out: bool) -> Batches:
    def part() -> Iterator[Feed]:
        return (feed for feed in data if is_held_out(feed) is held_out)

    return Batches(tuple(part()) if isinstance(data.feeds, tuple) else part, data.origin)


def _priority(feed: Feed) -> int:
    """Hash the contents of ``feed``, independently of its group in the statistics."""
    digest = blake2b(fingerprint(feed).to_bytes(8, "little"), digest_size=8, person=b"held out")
    return int.from_bytes(digest.digest(), "little")
