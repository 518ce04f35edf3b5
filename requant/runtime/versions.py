"""Versions of the engines: the installed one, and facts that hold from some version on."""

import re
from collections.abc import Mapping
from functools import cache
from importlib import metadata
from typing import TypeVar

from ..errors import TargetError

FIRST = "0.0"
"""The version before all others, in a `Timeline`."""

Version = tuple[int, ...]
"""Major and minor number: an engine changes its kernels with no less."""

Timeline = Mapping[str, str]
"""By the version that it begins with, in order: the consequence of a violation, or "" for none."""


Entry = TypeVar("Entry")


def latest(timeline: Mapping[str, Entry], version: Version | None) -> tuple[int, Entry] | None:
    """Return the position and the entry in ``timeline`` that holds for ``version``; None stands for the newest."""
    entries = enumerate(timeline.items())
    past = [(index, entry) for index, (begin, entry) in entries if version is None or parsed(begin) <= version]
    return past[-1] if past else None


def at(timeline: Timeline, version: Version | None, engine: str) -> str:
    """Return the entry of ``timeline`` for ``version``, followed by the range of versions that it holds for.

    None stands for a newer version than any in the timeline.
    """
    entry = latest(timeline, version)
    if entry is None or not entry[1]:
        return ""
    begins, (index, text) = list(timeline), entry
    first, end = begins[index], next(iter(begins[index + 1 :]), None)
    bounds = [f"from {first} on" if first != FIRST else "", f"before {end}" if end is not None else ""]
    return f"{text} ({engine} {' and '.join(filter(None, bounds))})"


def parsed(version: str) -> Version:
    """Parse major and minor number of ``version``, such as (1, 32) of "1.32.0rc1".

    Raises:
        TargetError: it does not begin with two numbers.
    """
    numbers = re.match(r"(\d+)\.(\d+)", version)
    if numbers is None:
        raise TargetError(f"not a version: {version!r}; write it like 1.32")
    return tuple(map(int, numbers.groups()))


def number(distributions: tuple[str, ...], version: str | None = None) -> Version | None:
    """Return the number of ``version``, or of the installed one of ``distributions``; None if there is neither.

    Raises:
        TargetError: ``version`` is malformed.
    """
    text = version if version is not None else installed(distributions)
    return parsed(text) if text is not None else None


@cache
def installed(distributions: tuple[str, ...]) -> str | None:
    """Return the version of the first of ``distributions`` in this environment; None if there is none."""
    for distribution in distributions:
        try:
            return metadata.version(distribution)
        except metadata.PackageNotFoundError:
            continue
    return None
