"""Names of strangers do not move the cursor, and letters that an encoding lacks do not end a run."""

import codecs

import pytest

from requant.printable import one_line, plainer, printable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[31mred", "\\x1b[31mred"),
        ("\x9b2J", "\\x9b2J"),
        ("a\u202eb", "a\\u202eb"),
        ("größe → 1 ×", "größe → 1 ×"),
        ("\udcff", "\\udcff"),
    ],
)
def test_control_characters_are_escaped(text: str, shown: str) -> None:
    assert printable(text) == shown


def test_long_texts_lose_their_middle() -> None:
    assert len(one_line("n" * 5000)) < 2100


def test_an_encoding_without_arrows_gets_plain_ones() -> None:
    codecs.register_error("test.plainer", plainer)
    assert "a → b × ü".encode("ascii", "test.plainer") == b"a -> b x ?"
