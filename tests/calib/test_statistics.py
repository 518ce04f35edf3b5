"""Statistics do not depend on how the data were split or in which order they came, to the bit."""

from dataclasses import astuple
from functools import reduce

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from requant.calib.ranges import minmax, mse, percentile, symmetric_scale
from requant.calib.statistics import ROWS, ChannelStatistics, measure


def parts(seed: int, count: int = 5) -> list[ChannelStatistics]:
    rng = np.random.default_rng(seed)
    scales = 10.0 ** rng.integers(-6, 6, (count, 1, 1))
    data = [(rng.standard_normal((int(rng.integers(1, 700)), 3)) * scale[0]).astype(np.float32) for scale in scales]
    return [measure(part, -1, index) for index, part in enumerate(data)]


@given(seed=st.integers(0, 1000), order=st.permutations(range(5)), cut=st.integers(1, 4))
def test_merging_is_commutative_and_associative_to_the_bit(seed: int, order: list[int], cut: int) -> None:
    items = parts(seed)
    straight = reduce(ChannelStatistics.merge, items)
    shuffled = [items[index] for index in order]
    tree = reduce(ChannelStatistics.merge, shuffled[:cut]).merge(reduce(ChannelStatistics.merge, shuffled[cut:]))
    for one, other in zip(astuple(straight), astuple(tree), strict=True):
        np.testing.assert_array_equal(one, other)


def test_they_agree_with_numpy() -> None:
    rng = np.random.default_rng(0)
    data = rng.normal(3, 2, (4, 100, 6)).astype(np.float32)
    statistics = reduce(ChannelStatistics.merge, [measure(part, -1, index) for index, part in enumerate(data)])
    rows = data.reshape(-1, 6).astype(np.float64)
    assert statistics.count == 400
    np.testing.assert_array_equal(statistics.minimum, rows.min(0))
    np.testing.assert_array_equal(statistics.maximum, rows.max(0))
    np.testing.assert_allclose(statistics.mean, rows.mean(0), rtol=1e-12)
    np.testing.assert_allclose(statistics.variance, rows.var(0), rtol=1e-9)


def test_the_channel_axis_may_be_anywhere() -> None:
    data = np.random.default_rng(0).normal(size=(2, 3, 4, 5)).astype(np.float32)
    np.testing.assert_array_equal(measure(data, 1, 0).maximum, data.max(axis=(0, 2, 3)))


def test_the_sample_is_bounded_and_made_of_rows_that_were_seen() -> None:
    data = np.arange(10 * ROWS, dtype=np.float32).reshape(-1, 2)
    statistics = measure(data, -1, 7).merge(measure(data + 0.5, -1, 8))
    assert statistics.rows.shape == (ROWS, 2)
    np.testing.assert_array_equal(statistics.rows[:, 1] - statistics.rows[:, 0], 1)
    assert 0.3 < np.mean(statistics.rows[:, 0] % 1 == 0) < 0.7


@pytest.mark.parametrize(("channels", "most", "kept"), [(2, 3000, 3000), (4096, 3000, 2048), (16384, 3000, ROWS)])
def test_a_larger_sample_holds_the_smaller_one_within_32_mib(channels: int, most: int, kept: int) -> None:
    data = np.broadcast_to(np.arange(3500, dtype=np.float32)[:, None], (3500, channels))
    few, many = ([measure(part, -1, 7, None, one) for part in (data[:1500], data[1500:])] for one in (ROWS, most))
    small, large = few[0].merge(few[1]), many[0].merge(many[1])
    assert (len(small.rows), len(large.rows)) == (ROWS, kept)
    np.testing.assert_array_equal(small.rows, large.rows[:ROWS])


@given(seed=st.integers(0, 1000))
def test_a_rebased_value_has_the_statistics_that_a_second_look_would_give(seed: int) -> None:
    rng = np.random.default_rng(seed)
    data = rng.normal(size=(300, 4)).astype(np.float32)
    scale, shift = rng.uniform(0.1, 10, 4), rng.uniform(-5, 5, 4)
    closed, again = measure(data, -1, 0).transformed(scale, shift), measure(((data - shift) / scale), -1, 0)
    for name in ("minimum", "maximum", "mean", "variance", "rows"):
        np.testing.assert_allclose(getattr(closed, name), getattr(again, name), rtol=1e-4, atol=1e-4)


def test_ranges() -> None:
    data = np.concatenate([np.linspace(-1, 1, 999), [5.0]]).astype(np.float32).reshape(-1, 1)
    statistics = measure(data, -1, 0)
    assert minmax(statistics) == (-1.0, 5.0)
    assert percentile(statistics, 99.0)[1] == pytest.approx(0.98, abs=0.03)
    low, high = mse(measure(np.repeat(data, 5, axis=1), -1, 0), bits=4)
    assert high < 5
    assert low > -1


def test_a_symmetric_scale_covers_both_ends_and_is_never_zero() -> None:
    assert symmetric_scale(-128.0, 0.0) == 1.0
    assert symmetric_scale(-1.0, 127.0) == 1.0
    assert symmetric_scale(0.0, 0.0) > 0
