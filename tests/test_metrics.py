"""Metrics: what the ready-made ones compute, how a caller's own is found and called, and how it may fail."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from requant.errors import DataError, RequantError
from requant.metrics import Metric, find_metric, joined, kl, top1

RNG = np.random.default_rng(0)
LOGITS = RNG.standard_normal((6, 5)).astype(np.float32)
"""Of 6 samples."""


def softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    exponentials = np.exp(logits)
    shares: NDArray[np.float64] = exponentials / exponentials.sum(axis=-1, keepdims=True)
    return shares


def test_kl_is_minus_the_mean_divergence_of_the_last_axis() -> None:
    other = LOGITS + 0.1 * RNG.standard_normal(LOGITS.shape)
    p, q = softmax(LOGITS.astype(np.float64)), softmax(other)
    assert kl({"y": other}, {"y": LOGITS}) == pytest.approx(-(p * np.log(p / q)).sum(axis=-1).mean())
    assert kl({"y": LOGITS + 3.0}, {"y": LOGITS}) == pytest.approx(0, abs=1e-9), "a constant changes no distribution"
    assert kl({"y": [other[:2], other[2:]]}, {"y": [LOGITS[:2], LOGITS[2:]]}) == pytest.approx(
        kl({"y": other}, {"y": LOGITS})
    )


def test_kl_takes_what_has_no_probability() -> None:
    masked = np.array([[0.0, -np.inf, 1.0]])
    assert kl({"y": masked}, {"y": masked}) == 0


def test_top1_is_the_accuracy_or_the_agreement() -> None:
    labels = LOGITS.argmax(-1)
    wrong = LOGITS.copy()
    wrong[0] = -wrong[0]
    assert top1({"y": LOGITS}, labels) == 1
    assert top1({"y": wrong}, labels) == pytest.approx(5 / 6)
    assert top1({"y": wrong, "n": np.arange(6)}, {"y": LOGITS, "n": np.arange(6)}) == pytest.approx(5 / 6)
    with pytest.raises(DataError, match=r"labels of shape \(5,\) fit 0 outputs, of 'y' \(6, 5\): top1 needs one"):
        top1({"y": LOGITS}, labels[:5])


def test_outputs_are_joined_where_their_first_axis_is_one_of_samples() -> None:
    batches = [[np.zeros((2, 3)), np.zeros(4), np.zeros((2, size)), None] for size in (4, 5)]
    outputs = joined(["rows", "boxes", "words", "nothing"], batches, [2, 2])
    assert np.shape(outputs["rows"]) == (4, 3)
    assert [np.shape(part) for part in outputs["boxes"]] == [(4,), (4,)], "four boxes are not two samples"
    assert [np.shape(part) for part in outputs["words"]] == [(2, 4), (2, 5)]
    assert outputs["nothing"] == [None, None]


def own(outputs: Mapping[str, NDArray[np.float32]], labels: NDArray[np.int64]) -> float:
    return float(outputs["y"].sum() - labels.sum())


def test_a_metric_is_a_name_or_a_function(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert find_metric("sqnr", None) is None
    assert find_metric("kl", None) == Metric("kl", kl)
    assert find_metric(own, np.arange(3)) is not None
    (tmp_path / "my_metrics.py").write_text("def first(outputs, labels):\n    return labels[0]\nlimit = 3\n")
    monkeypatch.chdir(tmp_path)
    found = find_metric("my_metrics:first", np.arange(3))
    assert found is not None
    assert found.score({}, np.array([7])) == 7
    for name, message in (
        ("accuracy", "unknown metric 'accuracy': choose one of sqnr, kl, top1"),
        ("my_metrics:second", "metric 'my_metrics:second': cannot be imported (AttributeError: "),
        ("nowhere.at_all:f", "metric 'nowhere.at_all:f': cannot be imported (ModuleNotFoundError: "),
        ("my_metrics:limit", "metric 'my_metrics:limit': is int, which is no function"),
    ):
        with pytest.raises(RequantError) as error:
            find_metric(name, None)
        assert str(error.value).startswith(message)
    with pytest.raises(RequantError, match="metric kl takes no labels: it compares with the float model"):
        find_metric("kl", np.arange(3))
    with pytest.raises(RequantError, match="metric takes sqnr, kl, top1 or a function, not 3"):
        find_metric(3, None)  # type: ignore[arg-type] # wrong on purpose


def test_a_function_that_fails_is_named() -> None:
    def failing(outputs: object, labels: object) -> float:
        raise ValueError("no such output\nnor any other")

    def wordy(outputs: object, labels: object) -> str:
        return "good"

    with pytest.raises(RequantError, match=r"^metric failing: ValueError: no such output$"):
        Metric("failing", failing).score({}, {})
    with pytest.raises(RequantError, match=r"^metric wordy: ValueError: could not convert"):
        Metric("wordy", wordy).score({}, {})  # type: ignore[arg-type] # wrong on purpose
