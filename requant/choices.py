"""Words that a caller may choose from."""

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
        raise RequantError(f"keep takes names or patterns of nodes, not {keep!r}")
    return names
