"""Cheap layers: much of the noise for a tenth of the traffic, found by an integer program."""

import pytest

from requant.passes.cost_model.cheap_layers import cheap_layers

EVEN = [100.0] * 20
CASES = {
    "one layer": ([60.0, 20, 20], [9.0, 45, 46], {0: 0.6}),
    "two that fit together": ([40.0, 30, 20, 10], [6.0, 4, 50, 40], {0: 0.4, 1: 0.3}),
    "the loudest moves too much": ([60.0, 20, 20], [12.0, 44, 44], {}),
    "two beside one that fills the limit": ([30.0, 25, 25, 20], [10.0, 4, 6, 80], {1: 0.25, 2: 0.25}),
    "less than half": ([40.0, 30, 30], [4.0, 48, 48], {}),
    "layers that make hardly any noise stay": ([98.0, 1, 1], [3.0, 1, 96], {0: 0.98}),
    "no noise": ([0.0, 0, 0], [1.0, 2, 97], {}),
    "one that loses everything": ([1e30, 1, 1], [1.0, 2, 97], {0: 1.0}),
    "all alike": ([1.0] * 20, EVEN, {}),
}


@pytest.mark.parametrize("case", CASES)
def test_much_of_the_noise_for_little_traffic(case: str) -> None:
    noise, traffic, expected = CASES[case]
    assert cheap_layers(dict(enumerate(noise)), dict(enumerate(traffic))) == pytest.approx(expected)


def test_no_more_layers_than_are_needed() -> None:
    noise, traffic = dict(enumerate([40.0, 30, 15, 15])), dict(enumerate([4.0, 1, 3, 92]))
    assert cheap_layers(noise, traffic) == pytest.approx({0: 0.4, 1: 0.3, 2: 0.15})
    assert cheap_layers(noise, traffic, enough=0.3) == pytest.approx({0: 0.4, 1: 0.3})
    assert cheap_layers(noise, traffic, enough=0.9) == pytest.approx({0: 0.4, 1: 0.3}), "half of the noise at least"
    assert cheap_layers(noise, traffic, enough=0.1) == pytest.approx({0: 0.4, 1: 0.3, 2: 0.15}), "as much as there is"
