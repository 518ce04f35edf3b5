"""A metric as the judge: the drop that a call allows holds on the samples that judge, and the plan is the cheapest."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from numpy.typing import NDArray

import requant
from models.few import FAMILIES
from requant.limits import LimitRecord
from requant.runtime.session import runner
from tests.stages.test_limit import in_float

FAMILY = FAMILIES["mlp"](1)
DATA = FAMILY.feeds(72, 0)
RUN = runner(ir.from_proto(FAMILY.model))
LABELS = np.array([RUN(feed)[0].argmax() for feed in DATA])
"""What the float model says, which is right by definition."""


def optimized(**options: Any) -> requant.Result:
    return requant.optimize(FAMILY.model, DATA, "int8-plain", "tensorrt", precision="float32", **options)


def record(result: requant.Result, name: str = "max_drop") -> LimitRecord:
    return next(one for one in result.report.limits if one.name == name)


def test_a_smaller_drop_takes_more_layers_in_float() -> None:
    loose, strict = (optimized(metric="kl", max_drop=drop) for drop in (1.0, 2e-4))
    assert in_float(loose) == []
    assert 0 < len(in_float(strict)) < 4
    assert 0 <= record(strict).value <= 2e-4 < record(loose).value
    (note,) = (note for note in strict.report.notes if note.startswith("max_drop=0.0002: "))
    assert "kl -" in note
    assert "held-out batches, with" in note


def test_the_drop_has_the_error_of_a_mean_over_samples() -> None:
    """A mean over one sample a batch has the standard error of a mean, where the metric is a mean itself."""
    losses = list[NDArray[np.float64]]()

    def closeness(outputs: Mapping[str, NDArray[np.float32]], expected: Mapping[str, NDArray[np.float32]]) -> float:
        losses.append(np.square(outputs["y"] - expected["y"], dtype=np.float64).mean(axis=-1))
        return -float(losses[-1].mean())

    (limit,) = (one for one in optimized(metric=closeness).report.limits if one.name == "max_drop")
    loss = next(one for one in losses if len(one) == 12 and one.any())
    error = loss.std(ddof=1) / len(loss) ** 0.5
    assert limit.value == pytest.approx(loss.mean())
    assert limit.words.endswith(f", a drop of {loss.mean():.2g} ± {error:.2g}")
    assert limit.bound == pytest.approx(loss.mean() + 1.795885 * error, rel=1e-5), "Student's quantile of 11 degrees"


def test_labels_reach_the_samples_that_they_belong_to() -> None:
    """The float model is right about all samples that judge; other labels would make it wrong about most."""
    seen = list[tuple[tuple[int, ...], tuple[int, ...]]]()

    def accuracy(outputs: Mapping[str, NDArray[np.float32]], labels: NDArray[np.int64]) -> float:
        seen.append((outputs["y"].shape, labels.shape))
        return float((outputs["y"].argmax(-1) == labels).mean())

    result = optimized(metric=accuracy, labels=LABELS, max_drop=0.3)
    assert record(result).unit == "accuracy"
    assert "of the float model" in record(result).words
    assert ", 1 of the float model" in record(result).words
    assert max(seen) == ((12, 16), (12,)), "a sixth is held out, in one array"
    assert set(seen) == {((count, 16), (count,)) for count in (11, 12)}, "its error is that without each sample"
    named = optimized(metric="top1", labels=LABELS, max_drop=0.3)
    assert record(named).value == record(result).value


def test_without_labels_the_function_is_given_the_float_model_s_outputs() -> None:
    def closeness(outputs: Mapping[str, NDArray[np.float32]], expected: Mapping[str, NDArray[np.float32]]) -> float:
        return -float(np.abs(outputs["y"] - expected["y"]).max())

    result = optimized(metric=closeness, max_drop=1e6)
    assert record(result).value > 0
    assert ", 0 of the float model, a drop of " in record(result).words


def test_a_metric_limits_nothing_by_itself() -> None:
    result = optimized(metric="top1", labels=LABELS)
    assert record(result).limit is None
    assert record(result).value == pytest.approx(0, abs=0.5)
    assert result.report.to_dict()["limits"][1]["name"] == "max_drop"


def test_a_drop_out_of_reach_leaves_the_model_in_float() -> None:
    def exact(outputs: Mapping[str, NDArray[np.float32]], expected: Mapping[str, NDArray[np.float32]]) -> float:
        return float((outputs["y"] == expected["y"]).mean())

    result = optimized(metric=exact, max_drop=0.0)
    assert len(in_float(result)) == 4
    assert "no plan with a quantized layer was found to be within max_drop=0 on 12 held-out" in result.report.message


def test_a_plan_whose_metric_is_no_number_does_not_hold() -> None:
    def ill(outputs: Mapping[str, NDArray[np.float32]], expected: Mapping[str, NDArray[np.float32]]) -> float:
        return 1.0 if np.array_equal(outputs["y"], expected["y"]) else float("nan")

    assert len(in_float(optimized(metric=ill, max_drop=5))) == 4
    with pytest.raises(requant.RequantError, match="metric <lambda>: is nan for the float model's outputs"):
        optimized(metric=lambda outputs, expected: float("nan"), max_drop=5)


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "no metric": ({"max_drop": 0.1}, "max_drop=0.1 needs a metric: kl, top1, or a function of your own"),
    "nothing to judge": ({"labels": LABELS}, "labels need a metric: kl, top1, or a function of your own"),
    "too few labels": (
        {"metric": "top1", "labels": LABELS[:9], "max_drop": 1},
        "there are 9 labels for 72 calibration",
    ),
    "effort": ({"effort": "much"}, "unknown effort 'much': choose one of low, normal, high"),
}


@pytest.mark.parametrize(("options", "message"), BAD.values(), ids=BAD.keys())
def test_bad_usage_is_one_line(options: dict[str, Any], message: str) -> None:
    with pytest.raises(requant.RequantError) as error:
        optimized(**options)
    assert str(error.value).startswith(message)
    assert "\n" not in str(error.value)


def test_a_metric_needs_data() -> None:
    with pytest.raises(requant.RequantError, match="metric kl needs calibration data"):
        requant.optimize(FAMILY.model, metric="kl")
