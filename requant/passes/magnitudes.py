"""Activations that no quantizer suits: all of them 0, or some so large that all other values would be rounded to 0."""

from collections.abc import Iterable

from ..calib.collect import statistics
from ..calib.rows import dropped, is_unreached
from ..ir.formats import Format
from ..ir.linear import Linear
from ..ir.refusal import Refusal
from ..runtime.targets import Target
from .scale_limits import no_range

LARGEST = 1e15
"""Magnitudes beyond this are masks or overflow, and float32 does not hold their squares."""


def signed_data(linear: Linear, engine: Target) -> Refusal | None:
    """Refuse ``linear`` where the integer kernel of ``engine`` does not take its negative data."""
    stats, op_type = statistics(linear.data), linear.node.op_type
    if op_type not in engine.one_sided or stats is None or stats.minimum.min() >= 0:
        return None
    return Refusal.at(linear.node, f"{engine.name} has an integer {op_type} of data without negative values alone")


def unquantizable(linear: Linear, formats: Iterable[Format]) -> Refusal | None:
    """Refuse ``linear`` where its activation cannot be quantized in any of ``formats``."""
    reason = _unquantizable(linear, formats)
    return None if reason is None else Refusal.at(linear.node, reason)


def _unquantizable(linear: Linear, formats: Iterable[Format]) -> str | None:
    candidates = tuple(formats)
    static = any(candidate.static for candidate in candidates)
    if static and is_unreached(linear.node):
        return "no calibration data reach the branch or the loop that it is in"
    if dropped(linear.data) and all(candidate.dynamic for candidate in candidates):
        return "its input is NaN or infinite in some rows, which would spoil the scale of all others at run time"
    stats = statistics(linear.data)
    if stats is None:
        return None
    most = float(stats.magnitude.max())
    if most > LARGEST:
        return f"its input reaches {most:.0e}, as masks and overflows do: smaller values would all be rounded to 0"
    return no_range(stats, static=static)
