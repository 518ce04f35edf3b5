"""Products of dimensions, some of which are names."""

import pytest

from requant.ir.shapes.symbolic_dims import Dim, broadcast, product, quotient


@pytest.mark.parametrize(
    ("dims", "divisors", "expected"),
    [
        ([6, 4], [8], 3),
        ([6], [4], None),
        (["b", "t", 32], ["b", "t", 4], 8),
        (["b", 4, "t", 8], ["t", 8], "4*b"),
        (["4*b", "t"], [4], "b*t"),
        (["4 * b"], ["b"], 4),
        (["2*b", 3], [], "6*b"),
        (["b", "b"], ["b"], "b"),
        (["b"], ["t"], None),
        (["b", None], ["b"], None),
        (["past + t", 8], ["past + t"], 8),
        (["past + t"], [], "past + t"),
        (["past + t", 8], [], None),
        (["b"], [0], None),
        ([-1, "b"], [], None),
    ],
)
def test_quotients_of_products(dims: list[Dim], divisors: list[Dim], expected: Dim) -> None:
    assert quotient(dims, divisors) == expected
    if not divisors:
        assert product(dims) == expected


@pytest.mark.parametrize(
    ("shapes", "expected"),
    [
        ([["b", "t", 8], [8]], ["b", "t", 8]),
        ([["b", 1], [1, "t"]], ["b", "t"]),
        ([["b", 8], ["t", 1]], [None, 8]),
        ([["b"], [7]], [7]),
        ([[None], ["b"]], [None]),
        ([[None], [7], [1]], [7]),
        ([[1], [1]], [1]),
        ([[], ["b"]], ["b"]),
    ],
)
def test_shapes_are_broadcast(shapes: list[list[Dim]], expected: list[Dim]) -> None:
    assert broadcast(*shapes) == expected
