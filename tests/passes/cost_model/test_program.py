"""The integer program: the least cost with the noise within bounds, as trying everything finds it."""

import subprocess
import sys
from itertools import product

import numpy as np
import pytest

from requant.passes.cost_model.program import Caps, Option, cheapest, quietest, total


def parts(seed: int, layers: int = 6, outputs: int = 2) -> list[list[Option]]:
    """Layers in int8 or in float, and one part of three alternatives, with noise as small as 50 dB has it."""
    rng = np.random.default_rng(seed)
    noise = 1e-5 * np.exp(rng.standard_normal((layers + 3, outputs)))
    costs = rng.uniform(1, 1e7, layers + 3)
    sizes = rng.uniform(1, 1e5, layers)
    pairs = [[Option(0.0, noise[n]), Option(costs[n], np.zeros(outputs), sizes[n])] for n in range(layers)]
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


def test_of_choices_that_cost_the_same_the_quietest_is_taken() -> None:
    """One large layer of two blocks leaves less noise than four small ones that cost the same."""
    blocks = (2.5, 3.6, 8.7, 10.0, 7.8, 7.2, 47.7), (2.2, 1.6, 3.4, 4.4, 2.2, 2.3, 16.9)
    noise, costs = [*blocks[0], *blocks[1], 15.1], [*(1, 1, 1, 1, 4, 4, 4) * 2, 1]
    options = [
        [Option(0.0, np.array([loss * 1e-5])), Option(float(cost), np.zeros(1))]
        for loss, cost in zip(noise, costs, strict=True)
    ]
    picks = cheapest(options, np.array([1e-3]))
    assert picks is not None
    assert total(options, picks).cost == 4
    assert np.flatnonzero(picks).tolist() == [6]


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 1.0])
def test_the_noise_is_least_within_caps(seed: int, share: float) -> None:
    options = parts(seed)
    choices = [total(options, picks) for picks in product(*(range(len(part)) for part in options))]
    weights = np.array([1.0, 3.0])
    least, most = (func([(choice.cost, choice.size) for choice in choices], axis=0) for func in (np.min, np.max))
    caps = Caps(*(least + share * (most - least)))
    picks = quietest(options, weights, caps)
    within = [one for one in choices if one.cost <= caps.cost * (1 + 1e-9) and one.size <= caps.size + 1e-6]
    if picks is None:
        assert within == []
    else:
        choice = total(options, picks)
        assert choice.cost <= caps.cost * (1 + 1e-6)
        assert choice.size <= caps.size + 1
        quiet = min(float((one.noise / weights).max()) for one in within)
        assert float((choice.noise / weights).max()) <= quiet * 1.002 + 1e-6 * 1e-4


@pytest.mark.parametrize("seed", range(6))
def test_the_cheapest_is_within_its_bytes(seed: int) -> None:
    options = parts(seed)
    bounds = 0.5 * total(options, [0] * len(options)).noise
    free = cheapest(options, bounds)
    assert free is not None
    caps = Caps(size=0.9 * total(options, free).size)
    picks = cheapest(options, bounds, caps)
    assert picks is None or total(options, picks).size <= caps.size * (1 + 1e-6)


def test_noise_without_end_is_never_chosen() -> None:
    options = [[Option(0.0, np.array([np.inf])), Option(1.0, np.array([0.0]))]]
    assert cheapest(options, np.ones(1)) == (1,)
    assert cheapest([options[0][:1]], np.ones(1)) is None


def test_of_no_parts_there_is_nothing_to_choose() -> None:
    assert cheapest([], np.ones(1)) == quietest([], np.ones(1)) == ()


SOLVE = """
import numpy as np
from requant.passes.cost_model.program import Caps, Option, quietest
noise = np.full((8, 3), 4e-12)
noise[1, 0], noise[2, 1] = 0.07904814599642838, 0.08973853894508838
noise[:, 2] = (
    0.08573768976828694, 0.06921295238782796, 0.11438895377994827, 0.21169365173052737,
    0.07446928440972755, 0.04208489145590704, 0.32252143633444613, 0.07989114013332874,
)
costs = 0.32, 0.16, 0.16, 0.32, 0.64, 0.64, 0.64, 1.0
parts = [[Option(0.0, lost), Option(cost, np.zeros(3))] for lost, cost in zip(noise, costs)]
assert quietest(parts, np.ones(3), Caps(cost=0.8)) is not None
"""


def test_the_solver_prints_nothing() -> None:
    """Standard output may be JSON; the solver prints from C, past Python's."""
    run = subprocess.run([sys.executable, "-c", SOLVE], capture_output=True, text=True, check=True)
    assert run.stdout == ""
