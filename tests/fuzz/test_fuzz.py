"""Damaged models get one line and leave nothing behind: no traceback, no hang, no more than 4 GiB."""

import os

import numpy as np
import pytest

from tests.fuzz.mutations import mutated
from tests.fuzz.pool import judged, problems
from tests.fuzz.seeds import seeds

FIRST, FEW, MANY = 0, 120, int(os.environ.get("REQUANT_FUZZ", "5000"))


def test_seeds_are_good() -> None:
    assert len(seeds()) == 9


def test_a_damaged_model_can_be_damaged_further() -> None:
    for number in (2752, 3432, 4758, 8085):  # a tensor sent to a file that cannot be, and one that lacks values
        assert mutated(seeds()[number % len(seeds())], np.random.default_rng(number))


def test_damaged_models_end_in_one_line() -> None:
    assert [problem for answer in judged(range(FIRST, FIRST + FEW)) for problem in problems(answer)] == []


@pytest.mark.fuzz
def test_many_damaged_models_end_in_one_line() -> None:
    assert [problem for answer in judged(range(MANY)) for problem in problems(answer)] == []
