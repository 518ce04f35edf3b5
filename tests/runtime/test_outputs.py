"""Outputs of any kind as numbers."""

import numpy as np
import pytest

from requant.runtime.outputs import arrays, layout, numbers, texts

TEXT = np.array([["a"], ["b"]], object)


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        (np.array([[1, 2]], np.float32), [1, 2]),
        (np.array([True, False]), [1, 0]),
        (np.float32(3), [3]),
        ([np.ones(2), [np.zeros((1, 1))]], [1, 1, 0]),
        ([{"b": 0.25, "a": 0.75}, {"a": 1.0, "b": 0.0}], [0.75, 0.25, 1, 0]),
        (TEXT, []),
        ("text", []),
        (None, []),
        ([], []),
    ],
)
def test_numbers_are_flattened_in_order(output: object, expected: list[float]) -> None:
    assert numbers(output).tolist() == expected
    assert numbers(output).dtype == np.float64


def test_text_is_listed_apart() -> None:
    assert texts([TEXT, np.ones(1), "c"]) == ["a", "b", "c"]
    assert len(list(arrays([TEXT, None, {1: np.ones(1)}]))) == 2


def test_layouts_tell_kinds_apart() -> None:
    two, one = np.ones((2, 3)), np.ones((1, 6))
    assert layout(two) == (2, 3)
    layouts = [layout(value) for value in (two, one, [two], [two, two], [one], None, [None], [], np.ones(()), TEXT)]
    assert len({str(shape) for shape in layouts}) == len(layouts)
