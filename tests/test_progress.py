"""Progress tells how many steps there are, to callbacks that take a number, and the terminal how long they take."""

import numpy as np
import pytest

import requant
from models.few import FAMILIES
from requant.cli.terminal import _left
from requant.progress import Steps, Stopwatch


def test_steps_are_numbers_that_know_their_total() -> None:
    told: list[tuple[str, int]] = []
    assert list(Stopwatch(lambda stage, count: told.append((stage, count))).steps("judge", "abc")) == ["a", "b", "c"]
    assert told == [("judge", 0), ("judge", 1), ("judge", 2)]
    assert [count.total for _, count in told if isinstance(count, Steps)] == [3, 3, 3]


@pytest.mark.parametrize(
    ("done", "seconds", "text"), [(0, 0.0, " of 4"), (1, 10.0, " of 4, 30 s left"), (3, 30.0, " of 4, 10 s left")]
)
def test_the_time_that_is_left(done: int, seconds: float, text: str) -> None:
    assert _left(Steps(done, 4), seconds) == text


def test_advice_tells_its_steps() -> None:
    family, totals = FAMILIES["lora"](0), list[int]()

    def progress(stage: str, count: int) -> None:
        if isinstance(count, Steps):
            assert stage == "judge"
            totals.append(count.total)

    requant.advise(family.model, family.feeds(12, 0), "int8-plain", "tensorrt", progress=progress)
    assert len(totals) == np.sum(list(dict.fromkeys(totals)))
