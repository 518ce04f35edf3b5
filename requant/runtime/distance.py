"""Distance of one model's output from another's, over feeds that count as one long signal.

    SQNR = 10 log10( Σ y² / Σ (y - ŷ)² ) dB

A mean of decibels over feeds would let one exact feed hide the loss of the other feeds. Elements that are infinite, or
NaN, in both models alike are equal and leave the sums; finite against not finite is a total failure.

The standard error of the ratio is that of a jackknife over the feeds (Quenouille 1956, Tukey 1958).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import fsum, sqrt

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError
from .outputs import layout, numbers, texts

CEILING = 200.0
"""SQNR in dB that stands for "equal", beyond the precision of float64. Its negative stands for a total failure."""

_TINY, _LARGEST = 1e-300, 1e300
"""Bounds of a sum, so that those of many feeds neither vanish nor overflow."""


@dataclass(frozen=True)
class Distance:
    """A candidate's distance from the reference over all feeds; each number is finite.

    Attributes:
        sqnr: in dB, one ratio over all feeds; -200 is a total failure: noise where the reference is 0 throughout, or
            finite numbers against NaN, infinity or another one.
        cosine: of the angle between the two, over all feeds.
        max_error: the largest absolute difference.
        worst: the SQNR in dB of the worst feed; one whose reference is 0 counts by the mean feed's size.
        nonfinite: elements that are NaN or infinite in the candidate and not the same in the reference.
        error: the standard error of ``sqnr`` in dB, from the differences between feeds; None where it is undefined.
    """

    sqnr: float
    cosine: float
    max_error: float
    worst: float
    nonfinite: int = 0
    error: float | None = None

    @property
    def equal(self) -> bool:
        """Tell whether the two are the same to the bit, but for the sign of zeros and the kind of NaN."""
        return self.max_error == 0 and self.sqnr == CEILING


@dataclass(frozen=True)
class Sums:
    """Sums over the elements y of the reference and z of the candidate that are finite in both, in one feed.

    ``mismatched`` elements are finite in one alone, infinite with different signs, or text that differs.
    """

    signal: float
    noise: float
    energy: float
    product: float
    largest: float
    mismatched: int
    nonfinite: int


def distance(expected: object, actual: object, name: str = "value") -> Distance:
    """Measure the distance between two arrays of one shape, or between the numbers in two sequences of such.

    Raises:
        DataError: the shapes differ.
    """
    return pooled([sums(expected, actual, name)])


def sums(expected: object, actual: object, name: str = "value") -> Sums:
    """Sum up what `pooled` needs of one feed.

    Raises:
        DataError: the shapes differ.
    """
    if layout(expected) != layout(actual):
        raise DataError(f"{name!r} has shape {layout(expected)} in one model and {layout(actual)} in the other")
    y, z = numbers(expected), numbers(actual)
    finite = np.isfinite(y) & np.isfinite(z)
    mismatched = ~finite & (y != z) & ~(np.isnan(y) & np.isnan(z))
    differing = sum(one != other for one, other in zip(texts(expected), texts(actual), strict=True))
    return _summed(y[finite], z[finite], int(mismatched.sum()) + differing, int((mismatched & ~np.isfinite(z)).sum()))


def pooled(feeds: Sequence[Sums]) -> Distance:
    """Pool the sums of one feed or more into one distance; their order does not matter to the bit."""
    signal, noise, energy, product = (
        fsum(getattr(feed, name) for feed in feeds) for name in ("signal", "noise", "energy", "product")
    )
    failed = any(feed.mismatched for feed in feeds)
    norms = sqrt(signal) * sqrt(energy)
    return Distance(
        sqnr=-CEILING if failed else _decibels(signal, noise),
        cosine=0.0 if failed else product / norms if norms else float(noise == 0),
        max_error=max(feed.largest for feed in feeds),
        worst=min(_of_feed(feed, signal / len(feeds)) for feed in feeds),
        nonfinite=sum(feed.nonfinite for feed in feeds),
        error=None if failed else _error(feeds, signal, noise),
    )


def standard_error(left_out: Sequence[float]) -> float:
    """Estimate the standard error of a figure by a jackknife, from the figures without each of its parts."""
    count, mean = len(left_out), fsum(left_out) / len(left_out)
    return sqrt((count - 1) / count * fsum((one - mean) ** 2 for one in left_out))


def _error(feeds: Sequence[Sums], signal: float, noise: float) -> float | None:
    """Estimate it for the SQNR of all feeds; None for a single one, and where feeds are equal to the bit or silent."""
    leave_one_out = [(signal - feed.signal, noise - feed.noise) for feed in feeds]
    if len(feeds) < 2 or any(power <= 0 or error <= 0 for power, error in leave_one_out):
        return None
    return standard_error([_decibels(power, error) for power, error in leave_one_out])


def _summed(y: NDArray[np.float64], z: NDArray[np.float64], mismatched: int, nonfinite: int) -> Sums:
    with np.errstate(over="ignore", under="ignore"):  # squares of float64 numbers beyond 1e154, or below 1e-162
        difference = y - z
        largest = min(float(np.abs(difference).max(initial=0.0)), _LARGEST)
        terms = (np.square(y), np.square(difference), np.square(z), y * z)
        signal, noise, energy, product = (float(np.clip(term.sum(), -_LARGEST, _LARGEST)) for term in terms)
    return Sums(signal, max(noise, _TINY) if largest else 0.0, energy, product, largest, mismatched, nonfinite)


def _of_feed(feed: Sums, usual: float) -> float:
    return -CEILING if feed.mismatched else _decibels(feed.signal or usual, feed.noise)


def _decibels(signal: float, noise: float) -> float:
    if noise == 0:
        return CEILING
    return float(np.clip(10 * np.log10(signal / noise), -CEILING, CEILING)) if signal else -CEILING
