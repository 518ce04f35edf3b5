"""Versions of the engines: the one that is installed, and what an engine does from which version on."""

import re
from collections.abc import Mapping
from functools import cache
from importlib import metadata
from typing import TypeVar

from ..errors import TargetError

PACKAGES = {
    "onnxruntime": ("onnxruntime", "onnxruntime-gpu", "onnxruntime-openvino", "onnxruntime-directml"),
    "openvino": ("openvino",),
    "tensorrt": ("tensorrt", "tensorrt-cu13", "tensorrt-cu12"),
    "tensorrt-rtx": ("tensorrt-rtx", "tensorrt-rtx-cu13", "tensorrt-rtx-cu12"),
}
"""The distributions that bring each engine."""

FIRST = "0.0"
"""The version before all others, in a `Timeline`."""

Version = tuple[int, ...]
"""Major and minor number: an engine changes its kernels with no less."""

Timeline = Mapping[str, str]
"""By the version that it begins with: what an engine does, or "" for nothing worth a word. In order."""


Entry = TypeVar("Entry")


def latest(timeline: Mapping[str, Entry], version: Version | None) -> tuple[int, Entry] | None:
    """The position and the entry in ``timeline`` that ``version`` has; None stands for the newest."""
    entries = enumerate(timeline.items())
    known = [(index, entry) for index, (begin, entry) in entries if version is None or parsed(begin) <= version]
    return known[-1] if known else None


def at(timeline: Timeline, version: Version | None, engine: str) -> str:
    """The entry of ``timeline`` for ``version``, followed by the range of versions that it holds for.

    None stands for a newer version than any that is known.
    """
    found = latest(timeline, version)
    if found is None or not found[1]:
        return ""
    begins, (index, text) = list(timeline), found
    first, end = begins[index], next(iter(begins[index + 1 :]), None)
    bounds = [f"from {first} on" if first != FIRST else "", f"before {end}" if end is not None else ""]
    return f"{text} ({engine} {' and '.join(filter(None, bounds))})"


def parsed(version: str) -> Version:
    """Major and minor number of ``version``, such as (1, 32) of "1.32.0rc1".

    Raises:
        TargetError: it does not begin with two numbers.
    """
    numbers = re.match(r"(\d+)\.(\d+)", version)
    if numbers is None:
        raise TargetError(f"not a version: {version!r}; one is written as 1.32")
    return tuple(map(int, numbers.groups()))


def number(engine: str, version: str | None = None) -> Version | None:
    """The number of ``version``, or of the installed ``engine``; None if there is neither.

    Raises:
        TargetError: ``version`` is none.
    """
    wanted = version if version is not None else installed(engine)
    return parsed(wanted) if wanted is not None else None


@cache
def installed(engine: str) -> str | None:
    """The version of ``engine``, a key of `PACKAGES`, in this environment; None if it is not installed."""
    for package in PACKAGES[engine]:
        try:
            return metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return None
