"""Held-out samples: a part of the data, by content, in whole feeds."""

from collections.abc import Callable

import numpy as np
import onnx
import onnx_ir as ir
import pytest

import requant
from requant.calib.holdout import MOST, split
from requant.calib.sources import Batches
from requant.runtime.feeds import Feed

TEXT = "(float[n, 16] x) => (float[n, 16] y) <float[16, 16] w> { h = MatMul(x, w) y = Relu(h) }"
Build = Callable[[str], onnx.ModelProto]


def feeds(count: int, size: int = 1) -> tuple[Feed, ...]:
    rng = np.random.default_rng(count)
    return tuple({"x": rng.standard_normal((size, 16)).astype(np.float32)} for _ in range(count))


def count(feed: Feed) -> int:
    return len(feed["x"])


def names(data: Batches | None) -> set[bytes]:
    return {feed["x"].tobytes() for feed in data or ()}


@pytest.mark.parametrize(("number", "held"), [(12, 2), (40, 6), (300, MOST)])
def test_a_share_is_held_out_and_never_more_than_needed(number: int, held: int) -> None:
    parts = split(Batches(feeds(number), "here"), count)
    assert len(names(parts.held_out)) == held
    assert len(names(parts.training)) == number - held
    assert not names(parts.training) & names(parts.held_out)


@pytest.mark.parametrize(("number", "size"), [(11, 1), (3, 32)])
def test_nothing_is_held_out_of_little(number: int, size: int) -> None:
    data = Batches(feeds(number, size), "here")
    parts = split(data, count)
    assert parts.held_out is None
    assert parts.training is data


def test_the_choice_depends_on_contents() -> None:
    data = feeds(40)
    straight = split(Batches(data, "here"), count)
    lazily = split(Batches(lambda: iter(data[::-1]), "here"), count)
    assert names(straight.held_out) == names(lazily.held_out)
    assert names(straight.training) == names(lazily.training)


def test_equal_feeds_stay_together() -> None:
    data = feeds(12) * 5
    parts = split(Batches(data, "here"), count)
    assert parts.held_out is not None
    assert not names(parts.training) & names(parts.held_out)
    assert len(list(parts.held_out)) == 10


@pytest.mark.parametrize("number", [4, 40])
def test_the_number_is_measured_on_data_that_set_nothing(build: Build, number: int) -> None:
    data = list(feeds(number))
    held = split(Batches(tuple(data), "here"), count).held_out
    result = requant.optimize(build(TEXT), data, target="tensorrt")
    report = result.report
    assert report.calibration == {"source": "iterable", "samples": number, "held_out": 0 if held is None else 6}
    expected = "samples of the calibration data itself" if held is None else "held-out samples"
    assert report.measured_on == expected
    assert report.measured_samples == (4 if held is None else 6)


def test_data_of_the_users_measures_instead(build: Build) -> None:
    result = requant.optimize(build(TEXT), feeds(40), target="tensorrt", evaluation=feeds(5))
    assert result.report.measured_on == "samples of iterable"
    assert result.report.measured_samples == 5


def test_one_sample_is_not_believed(build: Build) -> None:
    result = requant.optimize(build(TEXT), feeds(1), target="tensorrt")
    plain = requant.optimize(build(TEXT), feeds(1), "int8-plain", "tensorrt")
    graphs = [onnx.printer.to_text(ir.to_proto(each.model).graph) for each in (result, plain)]
    assert graphs[0] == graphs[1]
    assert "one sample" in result.report.notes[0]
