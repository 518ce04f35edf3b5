"""The integer program: the least cost with the noise within bounds, as trying everything finds it."""

from itertools import product

import numpy as np
import pytest

from requant.passes.cost_model.program import Option, cheapest, total


def parts(seed: int, layers: int = 6, outputs: int = 2) -> list[list[Option]]:
    """Layers in int8 or in float, and one part of three alternatives, with noise as small as 50 dB has it."""
    rng = np.random.default_rng(seed)
    noise = 1e-5 * np.exp(rng.standard_normal((layers + 3, outputs)))
    costs = rng.uniform(1, 1e7, layers + 3)
    pairs = [[Option(0.0, noise[n]), Option(costs[n], np.zeros(outputs))] for n in range(layers)]
    return [*pairs, [Option(costs[n], noise[n]) for n in range(layers, layers + 3)]]


def by_trying(options: list[list[Option]], bounds: np.ndarray) -> float:
    """Return the least cost of all choices within bounds."""
    choices = (total(options, picks) for picks in product(*(range(len(part)) for part in options)))
    return min((choice.cost for choice in choices if (choice.noise <= bounds).all()), default=np.inf)


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("share", [0.02, 0.3, 0.7, 1.0])
def test_the_choice_costs_least(seed: int, share: float) -> None:
    options = parts(seed)
    bounds = share * total(options, [0] * len(options)).noise
    picks, least = cheapest(options, bounds), by_trying(options, bounds)
    assert (picks is None) == (least == np.inf)
    if picks is not None:
        choice = total(options, picks)
        assert (choice.noise <= bounds * (1 + 1e-6)).all()
        assert choice.cost == pytest.approx(least, rel=1e-3)


def test_noise_without_end_is_never_chosen() -> None:
    options = [[Option(0.0, np.array([np.inf])), Option(1.0, np.array([0.0]))]]
    assert cheapest(options, np.ones(1)) == (1,)
    assert cheapest([options[0][:1]], np.ones(1)) is None


def test_of_no_parts_there_is_nothing_to_choose() -> None:
    assert cheapest([], np.ones(1)) == ()
