"""The judge: its lower bound of an SQNR is below the true one as often as it says, and agrees with the report."""

import numpy as np
import onnx_ir as ir
import pytest
from scipy.stats import t as student

from requant.metrics import Metric
from requant.runtime.distance import distance, pooled, sums
from requant.stages.candidates import Energies, decibels
from requant.stages.judge import ENOUGH, Judge, Measurement, likely_noise
from requant.stages.judging_samples import JudgingSamples
from requant.stages.trials import is_better


def test_the_bound_is_the_value_less_student_s_quantile_of_standard_errors() -> None:
    rng = np.random.default_rng(0)
    expected = rng.standard_normal((8, 20))
    actual = expected + rng.standard_normal((8, 20)) * rng.uniform(0.01, 0.1, (8, 1))
    total = pooled([sums(y, z) for y, z in zip(expected, actual, strict=True)])
    signal, error = (expected**2).sum(axis=1, keepdims=True), ((expected - actual) ** 2).sum(axis=1, keepdims=True)
    squares = Energies(signal, error[None])
    (likely,) = likely_noise(squares, squares.relative[0].sum(axis=0))
    assert total.error is not None
    assert decibels(likely) == pytest.approx(total.sqnr - student.ppf(0.95, 7) * total.error)


@pytest.mark.parametrize(("feeds", "spread"), [(6, 0.5), (24, 1.0)])
def test_the_truth_is_above_the_bound(feeds: int, spread: float) -> None:
    """Of samples whose noise has tails, 88 % at least; of a normal one 95."""
    rng = np.random.default_rng(0)
    signal = rng.lognormal(0, 0.3, (200, feeds, 1))
    error = rng.lognormal(0, spread, (200, feeds, 1))
    truth = float(np.exp(spread**2 / 2) / np.exp(0.3**2 / 2))
    bounds = []
    for y, e in zip(signal, error, strict=True):
        squares = Energies(y, e[None])
        bounds.append(likely_noise(squares, squares.relative[0].sum(axis=0))[0])
    assert np.mean(np.array(bounds) > truth) > 0.88


@pytest.mark.parametrize(
    ("error", "noise"),
    [(np.zeros((6, 1)), 0.0), (np.full((6, 1), 0.1), 0.1), (np.eye(6, 1), 1 / 6), (np.full((6, 1), np.inf), np.inf)],
)
def test_where_samples_tell_no_spread_the_bound_is_the_value(error: np.ndarray, noise: float) -> None:
    """Equal ones, exact ones, those that are lost, and one alone that is not exact."""
    squares = Energies(np.ones((6, 1)), error[None])
    assert likely_noise(squares, squares.relative[0].sum(axis=0))[0] == pytest.approx(noise)


def test_a_metric_that_is_better_than_the_float_model_s_is_luck() -> None:
    text = '<ir_version: 10, opset_import: ["" : 20]> g (float[2] x) => (float[2] y) { y = Identity(x) }'
    samples = JudgingSamples(({"x": np.ones(2, np.float32)},), "held-out", (2,))
    judge = Judge(
        ir.from_onnx_text(text), lambda plan: plan, samples, Metric("sum", lambda outputs, _: outputs["y"].sum())
    )
    loud, quiet, worse, ill = (
        Measurement(np.array([noise]), np.array([noise]), score)
        for noise, score in ((0.1, 3.0), (0.01, 2.0), (0.001, 1.0), (0.001, np.nan))
    )
    assert judge.float_score == 2
    assert is_better(judge, quiet, loud)
    assert is_better(judge, loud, worse)
    assert is_better(judge, worse, ill)


def test_few_samples_have_no_bound() -> None:
    text = '<ir_version: 10, opset_import: ["" : 20]> g (float[2] x) => (float[2] y) { y = Identity(x) }'
    other = text.replace("Identity(x)", "Floor(x)")
    feeds = [{"x": np.array([1.1 + number / 10, -2.0], np.float32)} for number in range(ENOUGH)]
    for count in (ENOUGH - 1, ENOUGH):
        samples = JudgingSamples(tuple(feeds[:count]), "held-out", (1,) * count)
        judge = Judge(ir.from_onnx_text(text), lambda plan: plan, samples)
        measurement = judge.measured(ir.from_onnx_text(other))
        assert judge.is_confident == (count == ENOUGH)
        assert (measurement.bound < measurement.sqnr) == (count == ENOUGH)
        whole = np.concatenate([feed["x"] for feed in feeds[:count]])
        assert measurement.sqnr == pytest.approx(distance(whole, np.floor(whole)).sqnr)
