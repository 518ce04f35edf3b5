"""Other limits from what was measured: the result of a new call, without its calibration and its probes."""

from typing import Any

import onnx_ir as ir
import pytest

import requant
from models.few import FAMILIES
from requant.runtime.price_tables import VNNI
from requant.stages.judge import Judge
from tests.passes import convnets
from tests.passes.convnets import source
from tests.passes.test_plan_integer_values import BODY, SIDE, weights

FAMILY = FAMILIES["mlp"](1)
DATA = FAMILY.feeds(12, 0)


def content(result: requant.Result) -> tuple[bytes, dict[str, Any]]:
    """Return all that a result is, but for the time that it took."""
    return ir.to_proto(result.model).SerializeToString(), result.report.to_dict() | {"times": {}}


def optimized(**options: Any) -> requant.Result:
    return requant.optimize(FAMILY.model, DATA, "int8-plain", "cpu", metric="kl", effort="low", prices=VNNI, **options)


def test_another_limit_gives_what_a_new_call_gives() -> None:
    first = optimized(min_sqnr=30)
    before = content(first)
    for limits in ({"max_drop": 1e-4}, {"max_bytes": "90kB"}, {"max_latency": "60%", "min_sqnr": 20}):
        assert content(first.replan(**limits)) == content(optimized(**limits)), limits
    assert content(first.replan(max_bytes="90kB").replan(min_sqnr=30)) == before
    assert content(first) == before


def test_a_call_without_limits_can_be_followed_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is measured twice."""
    first, plans = optimized(), list[int]()
    before, measured = content(first), Judge.measured

    def counted(judge: Judge, plan: ir.Model) -> Any:
        plans.append(1)
        return measured(judge, plan)

    monkeypatch.setattr(Judge, "measured", counted)
    strict = first.replan(min_sqnr=34)
    count = len(plans)
    assert count > 1
    assert content(first.replan(min_sqnr=34)) == content(strict)
    assert len(plans) == count
    assert content(first) == before
    assert len(first.lower("tensorrt").graph) == len(optimized().lower("tensorrt").graph)


def test_what_a_call_without_limits_leaves_in_float_is_left_to_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """Poor outputs that gain little stay in float, unless a limit says what loss is allowed."""
    monkeypatch.setattr("requant.stages.gain.LEAST_GAIN", 100.0)
    monkeypatch.setattr("requant.stages.float_layers.POOR", 90.0)
    options: dict[str, Any] = {"recipe": "int8", "target": "cpu", "prices": VNNI}
    first = requant.optimize(FAMILY.model, DATA, **options)
    assert not any(layer.quantized for layer in first.report.layers)
    limited = first.replan(min_sqnr=20)
    assert any(layer.quantized for layer in limited.report.layers)
    assert content(limited) == content(requant.optimize(FAMILY.model, DATA, **options, min_sqnr=20))


@pytest.mark.slow
def test_plans_of_integer_convs_are_measured_once_too() -> None:
    proto, data = source(BODY, weights(outlier=300.0), SIDE), convnets.feeds(6, SIDE)
    results = [requant.optimize(proto, data, "int8-plain", "cpu", min_sqnr=limit, effort="low") for limit in (10, 30)]
    assert content(results[0].replan(min_sqnr=30)) == content(results[1])
    assert content(results[1].replan(min_sqnr=10)) == content(results[0])


def test_what_is_written_is_asked_for_anew(tmp_path: Any) -> None:
    path = tmp_path / "model.onnx"
    first = requant.optimize(FAMILY.model, DATA, "int8-plain", "tensorrt", output=path)
    written = path.read_bytes()
    first.replan(min_sqnr=35)
    assert path.read_bytes() == written


def test_a_limit_is_refused_as_by_a_new_call() -> None:
    first = requant.optimize(FAMILY.model, DATA, "int8-plain", "tensorrt")
    for limits, message in (
        ({}, "replan needs a limit"),
        ({"max_drop": 0.1}, "max_drop=0.1 needs a metric"),
        ({"max_latency": 3}, "max_latency=3 needs prices"),
        ({"min_sqnr": -3}, "min_sqnr takes a number of decibels"),
    ):
        with pytest.raises(requant.RequantError, match=message):
            first.replan(**limits)
