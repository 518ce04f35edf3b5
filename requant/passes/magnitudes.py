"""Data that no code stands for: all of them nothing, or some so large that nothing is left of the others."""

from collections.abc import Iterable

import numpy as np

from ..calib.collect import statistics
from ..calib.rows import dropped
from ..ir.linear import Linear
from ..runtime.formats import Format

LARGEST = 1e15
"""Magnitudes beyond this are masks or overflow, and their squares are none that float32 can say."""

SMALLEST = 448 * float(np.finfo(np.float32).tiny)
"""Magnitudes below this need scales that are no normal numbers in some format; engines take such for 0."""


def without_codes(linear: Linear, formats: Iterable[Format]) -> str:
    """Say why no codes of ``formats`` are worth anything for the data of ``linear``, or nothing."""
    chosen = tuple(formats)
    static = any(each.static for each in chosen)
    if dropped(linear.data) and all(each.dynamic for each in chosen):
        return "its input is NaN or infinite in some rows, which would spoil the scale of all others at run time"
    seen = statistics(linear.data)
    if seen is None:
        return ""
    most = float(seen.magnitude.max())
    if most > LARGEST:
        return f"its input reaches {most:.0e}, as masks and overflows do: codes would say nothing of smaller values"
    if most >= SMALLEST or (most == 0 and not static):
        return ""
    return f"its input is {f'below {SMALLEST:.0e}' if most else 'zero'} in all of the calibration data"
