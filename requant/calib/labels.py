"""Labels of calibration samples: what a metric compares the outputs with."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError
from ..runtime.feeds import Feed
from .files import SUFFIXES, read_arrays, require_data
from .sources import Batches

_NAME = "labels"
"""Of the array in an `.npz` with several."""


def read_labels(labels: object) -> NDArray[Any] | None:
    """Return the labels of all samples, along the first axis.

    Args:
        labels: an array or what numpy makes one of; or the path of an `.npy`, of an `.npz` with one array or one called
            "labels", or of a text file with a label a line, all of them numbers or all of them text.

    Raises:
        DataError: they cannot be read, or are a single one.
    """
    if labels is None:
        return None
    path = Path(labels) if isinstance(labels, str | os.PathLike) else None
    array = np.asarray(labels) if path is None else _from_file(path)
    if not array.ndim or array.dtype.hasobject:
        raise DataError(f"{path or _NAME}: labels are an array with one entry for each sample, of numbers or text")
    return array


def with_labels(
    data: Batches, labels: NDArray[Any], samples: Callable[[Feed], int]
) -> Iterator[tuple[Feed, NDArray[Any]]]:
    """Yield each feed of ``data`` with the labels of its samples, which ``samples`` counts.

    Labels of samples that do not fill a last batch are left out, as these are.

    Raises:
        DataError: there are fewer labels than samples, or more by a batch.
    """
    start = size = 0
    for feed in data:
        size = samples(feed)
        yield feed, labels[start : start + size]
        start += size
    if not start <= len(labels) < start + max(size, 1):
        raise DataError(f"there are {len(labels)} labels for {start} calibration samples")


def _from_file(path: Path) -> NDArray[Any]:
    require_data(path)
    if os.path.isdir(path):
        raise DataError(f"{path}: is a folder, not a file of labels")
    if path.suffix not in SUFFIXES:
        return _from_text(path)
    entries = read_arrays(path, [_NAME])
    if len(entries) > 1 and _NAME not in entries:
        raise DataError(f"{path}: holds {sorted(entries)}, and none of these is called {_NAME!r}")
    return np.asarray(entries.get(_NAME, next(iter(entries.values()), np.zeros(()))))


def _from_text(path: Path) -> NDArray[Any]:
    """Read a label a line: integers, or else numbers, or else text."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: not a text file of labels") from error
    for dtype in (np.int64, np.float64):
        try:
            return np.array(lines, np.str_).astype(dtype)
        except ValueError:
            continue
    return np.array(lines, np.str_)
