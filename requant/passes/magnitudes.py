"""Data that no code stands for: all of them nothing, or some so large that nothing is left of the others."""

from collections.abc import Iterable

from ..calib.collect import statistics
from ..calib.rows import dropped
from ..ir.formats import Format
from ..ir.linear import Linear
from .scale_limits import no_range

LARGEST = 1e15
"""Magnitudes beyond this are masks or overflow, and their squares are none that float32 can say."""


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
    return no_range(seen, static=static)
