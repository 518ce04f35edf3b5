"""The rows of a value that enter its statistics: finite ones.

A row of NaN is padding whose attention is masked everywhere, or a quotient that a Where behind it discards; an
infinite one is a mask, or has overflowed. No range covers them, and the other rows are valid without them.
"""

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from ..ir.traverse import nodes_within

DROPPED = "requant.dropped"
"""Key in `Value.meta` of the `Dropped` rows of a value that was calibrated."""

UNREACHED = "requant.unreached"
"""Key in `Node.meta` of a layer in a body that was never run on the calibration data."""


@dataclass(frozen=True)
class Dropped:
    """The number of ``rows`` in all data, and of those that were ``dropped``."""

    rows: int = 0
    dropped: int = 0

    def plus(self, rows: int, dropped: int) -> "Dropped":
        """Count more data."""
        return Dropped(self.rows + rows, self.dropped + dropped)


def finite_rows(data: NDArray[np.generic], axis: int) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Lay out ``data`` as rows [R, C] of the channels along ``axis``, without those that are not finite in float32.

    Returns:
        The rows, and a mask [all rows] of the finite ones.
    """
    if data.size == 0:
        return np.zeros((0, data.shape[axis]), np.float32), np.zeros(0, np.bool_)
    with np.errstate(over="ignore"):
        rows = np.moveaxis(data, axis, -1).reshape(-1, data.shape[axis]).astype(np.float32, copy=False)
    finite: NDArray[np.bool_] = np.asarray(np.isfinite(rows).all(axis=1))
    return (rows if finite.all() else rows[finite]), finite


def dropped(value: ir.Value) -> int:
    """Count the rows of ``value`` that were left out."""
    entry = value.meta.get(DROPPED)
    return entry.dropped if isinstance(entry, Dropped) else 0


def is_unreached(node: ir.Node) -> bool:
    """Tell whether ``node`` is in a body that was never run."""
    return UNREACHED in node.meta


def unmeasured(value: ir.Value) -> str:
    """Give the reason for which there are no statistics of ``value``."""
    entry = value.meta.get(DROPPED)
    if not isinstance(entry, Dropped):
        return "its input was not calibrated"
    if entry.rows:
        return f"its input is NaN or infinite in all {entry.rows} rows of the calibration data"
    return "its input is empty in all calibration data"


def dropped_rows(model: ir.Model) -> str | None:
    """Describe the values of ``model`` with dropped rows; None where there are none."""
    values = (value for node in nodes_within(model.graph) for value in node.inputs if value is not None)
    entries = {value.name: value.meta.get(DROPPED) for value in dict.fromkeys(values)}
    counts = {name: count for name, count in entries.items() if isinstance(count, Dropped) and count.dropped}
    if not counts:
        return None
    (name, most), *tail = sorted(counts.items(), key=lambda item: -item[1].dropped)
    others_text = f", and some at {len(tail)} other values" if tail else ""
    return f"{most.dropped} of {most.rows} rows at {name!r} are NaN or infinite and were left out{others_text}"
