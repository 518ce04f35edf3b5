"""Lines: CTC decoding and the characters on which two networks agree."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.subject import Array
from models.tasks import lines

TEXTS = st.lists(st.integers(1, 3), max_size=6)


def output(*best: int) -> list[Array]:
    return [np.eye(4, dtype=np.float32)[list(best)][None]]


def test_repetitions_merge_and_blanks_part_them() -> None:
    assert lines.decoded(output(0, 1, 1, 2, 0, 2, 2, 0)) == [1, 2, 2]
    assert lines.decoded(output(0, 0)) == []


@pytest.mark.parametrize(
    ("first", "second", "distance"),
    [("kitten", "sitting", 3), ("", "abc", 3), ("abc", "abc", 0), ("abc", "bc", 1), ("ab", "ba", 2)],
)
def test_edit_distance(first: str, second: str, distance: int) -> None:
    assert lines.edit_distance([ord(letter) for letter in first], [ord(letter) for letter in second]) == distance


@given(TEXTS, TEXTS, TEXTS)
def test_edit_distance_is_a_metric(first: list[int], second: list[int], third: list[int]) -> None:
    distance = lines.edit_distance(first, second)
    assert distance == lines.edit_distance(second, first)
    assert (distance == 0) == (first == second)
    assert abs(len(first) - len(second)) <= distance <= max(len(first), len(second))
    assert distance <= lines.edit_distance(first, third) + lines.edit_distance(third, second)


def test_agreement_is_over_the_characters_of_all_lines() -> None:
    expected = [output(1, 2, 3, 0), output(1, 0, 0, 0)]
    assert lines.agreement(expected, expected) == {"characters": 1}
    assert lines.agreement(expected, [output(1, 2, 2, 0), output(1, 0, 2, 0)]) == {"characters": 1 - 2 / 4}
    assert lines.agreement([output(0, 0)], [output(0, 0)]) == {"characters": 1}
