"""Untrusted text on a terminal: names in a model must not move its cursor, colour it or turn its lines around."""

import unicodedata

_KEPT = "\n\t"

_HIDDEN = frozenset({"Cc", "Cs", "Zl", "Zp"})
"""Categories of control characters, half pairs and separators of lines."""

_DIRECTIONS = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")

_FALLBACKS = {"→": "->", "×": "x", "…": "...", "±": "+-", "‖": "||"}

_LONGEST = 2000


def printable(text: str) -> str:
    """Return ``text`` with control characters as escapes, those of C1 and of text direction among them."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(_escaped(letter) if _is_hidden(letter) else letter for letter in text)


def one_line(text: str) -> str:
    """Return ``text`` on one line, printable, without its middle where it would fill the terminal."""
    line = printable(" ".join(text.split()))
    return line if len(line) <= _LONGEST else f"{line[: _LONGEST // 2]} … {line[-_LONGEST // 2 :]}"


def plainer(error: UnicodeError) -> tuple[str, int]:
    """Replace what a terminal's encoding lacks; an error handler for `codecs.register_error`."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    missing = error.object[error.start : error.end]
    return "".join(_FALLBACKS.get(letter, "?") for letter in missing), error.end


def _is_hidden(letter: str) -> bool:
    return letter not in _KEPT and (unicodedata.category(letter) in _HIDDEN or letter in _DIRECTIONS)


def _escaped(letter: str) -> str:
    return letter.encode("unicode_escape").decode("ascii")
