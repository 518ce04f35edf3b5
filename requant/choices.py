"""Words that a caller may choose from, and numbers that a caller may give."""

import math
from collections.abc import Collection, Iterable

from .errors import RequantError


def require_choice(what: str, word: object, choices: Collection[str], error: type[RequantError] = RequantError) -> None:
    """Raise ``error`` with one line that lists the ``choices`` unless ``word`` is one of them."""
    if not isinstance(word, str) or word not in choices:
        raise error(f"unknown {what} {word!r}: choose one of {', '.join(choices)}")


def patterns(keep: object) -> tuple[str, ...]:
    """The names or patterns in ``keep``; one alone is one.

    Raises:
        RequantError: it is no sequence of names.
    """
    names = (keep,) if isinstance(keep, str) else tuple(keep) if isinstance(keep, Iterable) else None
    if names is None or not all(isinstance(name, str) for name in names):
        raise RequantError(f"keep takes names or patterns of nodes, or a number of them, not {keep!r}")
    return names


def layers_to_keep(keep: object) -> tuple[tuple[str, ...], int]:
    """The names or patterns in ``keep``, and the number of layers where it is one.

    Raises:
        RequantError: it is neither, or a negative number.
    """
    if not isinstance(keep, int) or isinstance(keep, bool):
        return patterns(keep), 0
    if keep < 0:
        raise RequantError(f"keep takes a number of layers from 0 on, not {keep}")
    return (), keep


def require_decibels(name: str, value: object) -> float | None:
    """Return the SQNR that ``value`` asks for; None is no limit.

    Raises:
        RequantError: it is no number above 0.
    """
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
        raise RequantError(f"{name} takes a number of decibels above 0, not {value!r}")
    return float(value)
