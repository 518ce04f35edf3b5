"""Samples of the calibration data that are held out: they set nothing, so that what is measured on them holds.

Whole feeds are held out, never rows of one: those resemble each other. Which ones depends on what they hold and not on
their order; feeds that are equal stay together.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from hashlib import blake2b

import numpy as np

from ..runtime.feeds import Feed
from .collect import fingerprint
from .sources import Batches

SHARE = 6
"""One of so many feeds is held out."""

FEWEST_SAMPLES, FEWEST_FEEDS = 12, 4
"""With less than that there is nothing to spare: from 8 documents a quarter costs MiniLM half a decibel."""

MOST = 32
"""Samples that are held out at most, but for a single feed of more."""


@dataclass(frozen=True)
class Split:
    """Calibration data in two parts: ``training`` sets ranges and transforms, ``held_out`` judges them, if any.

    ``samples`` counts those of the latter.
    """

    training: Batches
    held_out: Batches | None = None
    samples: int = 0


def split(data: Batches, samples: Callable[[Feed], int]) -> Split:
    """Split the data by content; ``samples`` says how many a feed holds.

    Takes one pass over the data. Each iteration over a part is another one.
    """
    sizes = {_priority(feed): samples(feed) for feed in data}
    if sum(sizes.values()) < FEWEST_SAMPLES or len(sizes) < FEWEST_FEEDS:
        return Split(data)
    order = sorted(sizes)
    held = np.cumsum([sizes[priority] for priority in order])
    feeds = max(1, min(len(order) // SHARE, int(np.searchsorted(held, MOST, side="right"))))
    last = order[feeds - 1]
    training, held_out = (_part(data, last, held_out=flag) for flag in (False, True))
    return Split(training, held_out, int(held[feeds - 1]))


def _part(data: Batches, last: int, *, held_out: bool) -> Batches:
    def chosen() -> Iterator[Feed]:
        return (feed for feed in data if (_priority(feed) <= last) is held_out)

    return Batches(tuple(chosen()) if isinstance(data.feeds, tuple) else chosen, data.origin)


def _priority(feed: Feed) -> int:
    """A number by what the feed holds, which says nothing about its group in the statistics."""
    digest = blake2b(fingerprint(feed).to_bytes(8, "little"), digest_size=8, person=b"held out")
    return int.from_bytes(digest.digest(), "little")
