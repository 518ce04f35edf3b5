"""The cost of clipping on other data, and the margin that pays for it, from few samples."""

from collections.abc import Callable
from functools import reduce

import numpy as np
import pytest
from numpy.typing import NDArray

from models.few import FAMILIES
from requant.calib.statistics import ChannelStatistics, measure
from requant.ir.formats import FP8, INT8, INT8_DYNAMIC, INT8_WEIGHT, Format
from requant.ir.load import load
from requant.optimize import optimize
from requant.passes.cost_model.clipping import MARGINS, Reach, clipping, reach
from requant.passes.cost_model.folds import FOLDS, folds
from requant.passes.cost_model.loss import assess, held_out_reach, part_loss
from requant.passes.cost_model.observation import Observation
from requant.passes.cost_model.part import Part
from requant.passes.cost_model.row_weights import row_weights
from requant.passes.solvers import Identity, SmoothQuant
from requant.runtime.session import runner

CHANNELS = 16
Draw = Callable[[np.random.Generator, int], NDArray[np.float64]]
SIZES = np.exp(np.random.default_rng(3).standard_normal(CHANNELS))
DRAWS: dict[str, Draw] = {
    "normal": lambda rng, rows: rng.standard_normal((rows, CHANNELS)) * SIZES,
    "laplace": lambda rng, rows: rng.laplace(size=(rows, CHANNELS)) * SIZES,
    "relu": lambda rng, rows: np.maximum(rng.standard_normal((rows, CHANNELS)), 0) * SIZES,
}


def value(draw: Draw, samples: int, seed: int, rows: int = 1) -> Part:
    """A value of ``samples`` samples of ``rows`` rows each, and weights of equal size."""
    rng = np.random.default_rng([seed, samples])
    data = [draw(rng, rows).astype(np.float32) for _ in range(samples)]
    stats = reduce(ChannelStatistics.merge, [measure(one, -1, int(rng.integers(2**60))) for one in data])
    return Part(stats, np.arange(CHANNELS), rng.standard_normal((CHANNELS, 8)).astype(np.float32))


def site(part: Part) -> Observation:
    return Observation(CHANNELS, (part,), shiftable=True)


@pytest.mark.parametrize("samples", [2, 5, 40])
def test_each_row_is_left_out_once_with_all_of_its_sample(samples: int) -> None:
    stats = value(DRAWS["normal"], samples, 0, rows=3).statistics
    parts = [fold for (fold,) in folds([stats])]
    assert 2 <= len(parts) <= FOLDS
    np.testing.assert_array_equal(np.sum([fold.left_out for fold in parts], axis=0), 1)
    for fold in parts:
        assert not set(stats.groups[fold.left_out]) & set(fold.training.groups)
        np.testing.assert_array_equal(fold.training.maximum, stats.rows[~fold.left_out].max(axis=0))
        assert fold.training.count == (~fold.left_out).sum()


def test_rows_of_a_single_sample_are_left_out_one_by_one() -> None:
    stats = value(DRAWS["normal"], 1, 0, rows=9).statistics
    parts = [fold for (fold,) in folds([stats])]
    assert len(parts) == FOLDS
    np.testing.assert_array_equal(np.sum([fold.left_out for fold in parts], axis=0), 1)


def test_values_of_other_sizes_leave_out_the_same_samples() -> None:
    seeds = np.random.default_rng(1).integers(2**60, size=20)
    rng = np.random.default_rng(0)

    def merged(rows: int) -> ChannelStatistics:
        return reduce(
            ChannelStatistics.merge,
            [measure(rng.standard_normal((rows, 3)).astype(np.float32), -1, int(seed)) for seed in seeds],
        )

    for short, long in folds([merged(2), merged(7)]):
        assert set(short.training.groups) == set(long.training.groups)


def test_a_range_costs_less_the_wider_it_is() -> None:
    cost = clipping(reach(np.array([[0.5, 0.9], [1.4, 2.5]]), np.ones(2), np.ones(2)))
    assert (np.diff(cost) <= 0).all()
    seen = np.square(np.maximum(np.array([1.4, 2.5]) - MARGINS[:, None], 0)).sum(axis=1)
    assert (cost >= seen * (1 - 1e-12)).all()
    assert (cost[seen == 0] > 0).all()  # what lies beyond
    assert (clipping(Reach.nothing()) == 0).all()


@pytest.mark.parametrize("name", DRAWS)
@pytest.mark.parametrize("samples", [16, 128])
def test_the_cost_is_that_of_data_which_set_no_range(name: str, samples: int) -> None:
    """Within 6 dB in the median of 24 draws; the scale is one for all channels that are equally large."""
    parts = []
    for seed in range(24):
        part = value(DRAWS[name], samples, seed)
        transform = SmoothQuant(1.0)(site(part))
        top = (np.maximum(part.statistics.maximum, -part.statistics.minimum) / transform.scale).max()
        other = DRAWS[name](np.random.default_rng([seed, 1, 1]), 20_000)
        beyond = np.square(np.maximum(np.abs(other / transform.scale) - top, 0)) @ (transform.scale**2 * part.energy)
        weights = row_weights(np.square(other @ part.matrix).sum(axis=1))
        true = float(np.mean(beyond * np.sqrt(weights * weights.mean())))
        (near,) = held_out_reach(site(part), SmoothQuant(1.0))
        parts.append(10 * np.log10(clipping(near)[0] / true))
    assert abs(np.median(parts)) < 6


def test_few_samples_ask_for_a_wider_margin_than_many() -> None:
    few, many = (
        np.mean([assess(site(value(DRAWS["laplace"], n, seed)), SmoothQuant(1.0)).margins[0] for seed in range(8)])
        for n in (8, 1024)
    )
    assert few > 1.15 * many
    assert 1 <= many < 1.5


def test_the_margin_of_data_without_tails_costs_little() -> None:
    """Twice the range is twice the step: 6 dB that nothing pays back."""
    margins = [part_loss(value(DRAWS["normal"], 8, seed, rows=4), INT8)[1] for seed in range(8)]
    assert np.mean(margins) < 1.7


@pytest.mark.parametrize("fmt", [FP8, INT8_DYNAMIC, INT8_WEIGHT], ids=str)
def test_only_ranges_that_are_set_beforehand_have_a_margin(fmt: Format) -> None:
    part = value(DRAWS["laplace"], 8, 0)
    assert part_loss(part, INT8)[1] > 1
    assert part_loss(part, fmt)[1] == 1


def test_a_transform_that_fits_a_handful_of_samples_is_not_believed() -> None:
    """Each channel at exactly its own range loses little on the data that set it, and clips everywhere else."""
    part = value(DRAWS["normal"], 8, 0)
    sharp, identity = (assess(site(part), solver) for solver in (SmoothQuant(1.0), Identity()))
    assert sharp.margins[0] > identity.margins[0]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mlp", "lora", "pre-norm"])
def test_few_samples_do_not_make_the_transforms_worse_than_none(name: str) -> None:
    """In the mean of draws, on other data."""
    gains = [_gain(name, draw) for draw in range(3)]
    assert np.mean(gains) > 0.5


def _gain(name: str, draw: int) -> float:
    family = FAMILIES[name](draw)
    other = family.feeds(64, 1)
    reference = runner(load(family.model))
    expected = [reference(feed)[0].astype(np.float64) for feed in other]
    noise = []
    for recipe in ("int8-plain", "int8"):
        run = runner(optimize(family.model, family.feeds(8, 0), recipe, "tensorrt", precision="float32").model)
        pairs = zip(map(run, other), expected, strict=True)
        noise.append(sum(float(np.square(y - z.astype(np.float64)).sum()) for (z, *_), y in pairs))
    return float(10 * np.log10(noise[0] / noise[1]))
