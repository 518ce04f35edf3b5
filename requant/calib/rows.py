"""The rows of a value that statistics are taken of: finite ones.

A row of NaN is padding whose attention has nothing to look at, or a quotient that a Where behind it throws away; an
infinite one is a mask, or has overflowed. No range covers them, and other rows are as good as without them.
"""

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

DROPPED = "requant.dropped"
"""Key in `Value.meta` of the `Dropped` rows of a value that was looked at."""


@dataclass(frozen=True)
class Dropped:
    """How many of ``rows`` in all of the data were ``dropped``."""

    rows: int = 0
    dropped: int = 0

    def and_of(self, rows: int, dropped: int) -> "Dropped":
        """Count more data."""
        return Dropped(self.rows + rows, self.dropped + dropped)


def finite_rows(data: NDArray[np.generic], axis: int) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Lay out ``data`` as rows [R, C] of the channels along ``axis``, without those that are not finite in float32.

    Returns:
        The rows, and which of all rows they are.
    """
    if data.size == 0:
        return np.zeros((0, data.shape[axis]), np.float32), np.zeros(0, np.bool_)
    with np.errstate(over="ignore"):
        rows = np.moveaxis(data, axis, -1).reshape(-1, data.shape[axis]).astype(np.float32, copy=False)
    finite: NDArray[np.bool_] = np.asarray(np.isfinite(rows).all(axis=1))
    return (rows if finite.all() else rows[finite]), finite


def dropped(value: ir.Value) -> int:
    """The number of rows of ``value`` that were left out."""
    seen = value.meta.get(DROPPED)
    return seen.dropped if isinstance(seen, Dropped) else 0


def unmeasured(value: ir.Value) -> str:
    """Say why there are no statistics of ``value``."""
    seen = value.meta.get(DROPPED)
    if not isinstance(seen, Dropped):
        return "its input was not calibrated"
    if seen.rows:
        return f"its input is NaN or infinite in all {seen.rows} rows of the calibration data"
    return "its input is empty in all of the calibration data"


def dropped_rows(model: ir.Model) -> str:
    """Say which values of ``model`` lost rows, or nothing."""
    values = (value for node in model.graph for value in node.inputs if value is not None)
    seen = {value.name: value.meta.get(DROPPED) for value in dict.fromkeys(values)}
    lost = {name: drop for name, drop in seen.items() if isinstance(drop, Dropped) and drop.dropped}
    if not lost:
        return ""
    (name, drop), *others = sorted(lost.items(), key=lambda item: -item[1].dropped)
    more = f", and some at {len(others)} other values" if others else ""
    return f"{drop.dropped} of {drop.rows} rows at {name!r} are NaN or infinite and were left out{more}"
