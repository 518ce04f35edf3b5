"""One ratio over all feeds, the worst feed beside it, and what is not finite is never equal to what is."""

import math

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

import requant
from requant.errors import DataError
from requant.ir.load import load
from requant.runtime.compare import compare
from requant.runtime.distance import CEILING, Distance, Sums, distance, pooled, sums

SIGNAL = np.array([3.0, -4.0, 0.0, 5.0], np.float32)


def noisy(decibels: float, size: float = 1.0) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return a signal, and the same with noise of so many dB below it."""
    noise = np.float32(np.linalg.norm(SIGNAL) / 10 ** (decibels / 20) / len(SIGNAL) ** 0.5)
    return SIGNAL * np.float32(size), (SIGNAL + noise) * np.float32(size)


def test_exact_feeds_hide_nothing() -> None:
    feeds = [sums(*noisy(34)), sums(SIGNAL, SIGNAL), sums(*noisy(34))]
    measured = pooled(feeds)
    assert measured.sqnr == pytest.approx(34 + 10 * math.log10(3 / 2), abs=1e-3), (
        "twice the noise of a feed, three signals"
    )
    assert measured.worst == pytest.approx(34, abs=1e-3)
    assert pooled(feeds[::-1]) == measured


def test_loud_feeds_count_by_their_size() -> None:
    measured = pooled([sums(*noisy(20)), sums(*noisy(60, size=100.0))])
    assert measured.sqnr == pytest.approx(57, abs=0.1)
    assert measured.worst == pytest.approx(20, abs=1e-3)


def test_the_standard_error_covers_what_other_feeds_give() -> None:
    """Of 400 draws of 12 feeds, about nine in ten are within 1.8 standard errors of the truth."""
    rng = np.random.default_rng(0)
    sizes = np.exp(0.5 * rng.standard_normal((400, 12)))
    truth = 10 * math.log10(math.exp(0.5) / math.exp(0.125) / 1e-3)  # E a² over E a · 10⁻³
    draws = [pooled([sums(SIGNAL * a, SIGNAL * a + SIGNAL * (a * 1e-3) ** 0.5) for a in draw]) for draw in sizes]
    within = [abs(one.sqnr - truth) < 1.8 * (one.error or 0) for one in draws]
    assert 0.8 < np.mean(within) < 0.97


@pytest.mark.parametrize(
    "feeds", [[sums(*noisy(30))], [sums(SIGNAL, SIGNAL)] * 3, [sums(*noisy(30)), sums(SIGNAL, SIGNAL)]]
)
def test_no_standard_error_can_be_told_of_one_feed_or_of_exact_ones(feeds: list[Sums]) -> None:
    assert pooled(feeds).error is None


def test_a_silent_feed_counts_by_the_usual_size() -> None:
    silent = sums(np.zeros(4), np.full(4, 0.05))
    assert pooled([sums(SIGNAL, SIGNAL), silent]).worst == pytest.approx(10 * math.log10(25 / 0.01), abs=1e-3)
    assert pooled([silent]).sqnr == -CEILING


@pytest.mark.parametrize("broken", [np.nan, np.inf, -np.inf])
def test_not_finite_against_finite_is_a_total_failure(broken: float) -> None:
    candidate = SIGNAL.copy()
    candidate[1] = broken
    assert distance(SIGNAL, candidate) == Distance(-CEILING, 0.0, 0.0, -CEILING, nonfinite=1)
    assert distance(candidate, SIGNAL) == Distance(-CEILING, 0.0, 0.0, -CEILING, nonfinite=0)


def test_infinity_of_the_other_sign_is_a_total_failure() -> None:
    assert distance(np.array([1, np.inf]), np.array([1, -np.inf])).sqnr == -CEILING
    assert distance(np.array([1, np.inf]), np.array([1, np.nan])).nonfinite == 1


def test_what_agrees_without_being_finite_leaves_the_rest_measured() -> None:
    y, z = (np.append(one, [np.nan, np.inf, -np.inf]) for one in noisy(30))
    assert distance(y, z).sqnr == pytest.approx(30, abs=1e-3)
    assert (distance(y, y).sqnr, distance(y, y).worst) == (CEILING, CEILING)


@pytest.mark.parametrize("size", [1e-300, 1e-160, 1e160, 1e308])
def test_numbers_are_finite_whatever_the_size(size: float) -> None:
    y = np.array([1.0, -1.0]) * size
    for measured in (distance(y, -y), distance(y, y), pooled([sums(y, -y), sums(y, y)])):
        assert all(math.isfinite(number) for number in vars(measured).values() if number is not None)
    assert distance(y, -y).sqnr <= 0, "what differs is not equal, however small"


def test_shapes_that_differ_are_an_error() -> None:
    with pytest.raises(DataError, match=r"'y' has shape \(2,\) in one model and \(3,\)"):
        distance(np.zeros(2), np.zeros(3), "y")


def counting(bound: float, *, only: bool = False) -> onnx.ModelProto:
    """Build a model that finds the places where its input is above ``bound``, and, but for ``only``, doubles it."""
    rest, outputs = ("", "") if only else ("d = Add(x, x)", ", float[b,4] d")
    return onnx.parser.parse_model(
        f"""<ir_version: 8, opset_import: ["" : 17]> g (float[b,4] x) => (int64[2,k] places{outputs})
        <float bound = {{{bound}}}> {{ over = Greater(x, bound) places = NonZero(over) {rest} }}"""
    )


def test_an_output_that_cannot_be_compared_leaves_the_others() -> None:
    feeds = [{"x": np.array([[-1, 1, 2, 3]], np.float32)}, {"x": np.array([[1, 1, 2, 3]], np.float32)}]
    measured = compare(load(counting(0)), load(counting(1.5)), feeds)
    assert list(measured.outputs) == ["d"]
    assert measured.samples == 2
    assert "'places' has shape (2, 3) in one model and (2, 2)" in measured.unmeasured["places"]
    with pytest.raises(DataError, match="no output can be compared: 'places'"):
        requant.compare(counting(0, only=True), counting(1.5, only=True), feeds)
