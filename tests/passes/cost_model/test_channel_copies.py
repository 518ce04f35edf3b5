"""Copies go where they lower the largest difficulty most."""

from itertools import combinations_with_replacement

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from requant.passes.cost_model.channel_copies import copies


@given(seed=st.integers(0, 500), extra=st.integers(0, 5))
def test_no_other_choice_has_a_smaller_largest_difficulty(seed: int, extra: int) -> None:
    difficulty = np.random.default_rng(seed).exponential(size=4)
    counts = copies(difficulty, extra)
    assert counts.min() >= 1
    assert counts.sum() == 4 + extra
    others = (
        1 + np.bincount(picks, minlength=4) for picks in map(list, combinations_with_replacement(range(4), extra))
    )
    assert (difficulty / counts).max() == min((difficulty / (other if extra else counts)).max() for other in others)


@given(seed=st.integers(0, 500), extra=st.integers(0, 200))
def test_each_channel_has_as_many_copies_as_the_threshold_asks_for(seed: int, extra: int) -> None:
    difficulty = 10 ** np.random.default_rng(seed).uniform(-2, 2, 50)
    counts = copies(difficulty, extra)
    threshold = (difficulty / counts).max()
    np.testing.assert_array_equal(counts, np.ceil(difficulty / threshold * (1 - 1e-12)))


def test_the_first_of_several_is_split_first() -> None:
    assert copies(np.array([1.0, 2.0, 2.0, 1.0]), 1).tolist() == [1, 2, 1, 1]
    assert copies(np.array([1.0, 2.0, 2.0, 1.0]), 3).tolist() == [2, 2, 2, 1]
