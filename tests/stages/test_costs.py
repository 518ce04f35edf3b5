"""Limits of the cost: the plan of least loss within them, by estimates of time and by bytes as written."""

from typing import Any

import pytest

import requant
from models.few import FAMILIES
from requant.ir.validate import stored_bytes
from requant.limits import LimitRecord
from requant.runtime.price_tables import VNNI
from tests.passes import convnets
from tests.passes.convnets import source
from tests.passes.test_plan_integer_values import BODY, SIDE, weights
from tests.stages.test_limit import in_float, worst

FAMILY = FAMILIES["mlp"](1)
DATA = FAMILY.feeds(24, 0)


def optimized(target: str, **options: Any) -> requant.Result:
    prices = VNNI if target == "cpu" else None
    return requant.optimize(FAMILY.model, DATA, "int8-plain", target, prices=prices, **options)


def record(result: requant.Result, name: str) -> LimitRecord:
    return next(one for one in result.report.limits if one.name == name)


@pytest.mark.parametrize(("target", "share"), [("tensorrt", 1.4), ("cpu", 2.0)])
def test_bytes_are_those_of_the_artifact(target: str, share: float) -> None:
    """What may be larger loses less; the limit holds to the byte, in half precision too."""
    smallest = optimized(target)
    least = smallest.report.bytes_after
    result = optimized(target, max_bytes=int(least * share))
    assert least < record(result, "max_bytes").value == stored_bytes(result.model) <= least * share
    assert record(result, "min_sqnr").value == pytest.approx(worst(result))
    assert worst(result) > worst(smallest)
    assert 0 < len(in_float(result)) < 4
    assert all("of the noise of all layers" in one.reason for one in result.report.layers if not one.quantized)
    with pytest.raises(
        requant.RequantError, match=rf"max_bytes={least - 1}: no plan is as small, the least has {least} "
    ):
        optimized(target, max_bytes=least - 1)


def test_a_latency_is_an_estimate_by_prices() -> None:
    fast, slow = (optimized("cpu", max_latency=share) for share in ("35%", "80%"))
    assert worst(fast) < worst(slow)
    assert len(in_float(fast)) < len(in_float(slow)) < 4
    for result, share in ((fast, 0.35), (slow, 0.8)):
        assert 0 < record(result, "max_latency").value <= (record(result, "max_latency").limit or 0)
        assert any("an estimate of" in note for note in result.report.notes)
        milliseconds = (record(result, "max_latency").limit or 0) / share
        assert milliseconds == pytest.approx((record(fast, "max_latency").limit or 0) / 0.35)
    same = optimized("cpu", max_latency=record(slow, "max_latency").limit)
    assert in_float(same) == in_float(slow)
    with pytest.raises(requant.RequantError, match="max_latency=10%: no plan is estimated to be as fast, the least is"):
        optimized("cpu", max_latency="10%")


def test_loss_and_cost_hold_together_or_not_at_all() -> None:
    both = optimized("cpu", min_sqnr=25, max_bytes=120_000, max_latency="90%")
    assert worst(both) >= 25
    assert [one.name for one in both.report.limits] == ["min_sqnr", "max_latency", "max_bytes"]
    with pytest.raises(requant.RequantError, match="min_sqnr=90, max_bytes=60000: no plan was found to be within all"):
        optimized("cpu", min_sqnr=90, max_bytes=60_000)


def test_a_limit_beyond_the_float_model_leaves_it_as_it_is() -> None:
    result = optimized("tensorrt", max_bytes="1GB")
    assert len(in_float(result)) == 4
    assert result.report.message == "nothing to quantize: the float model itself is within max_bytes=1000000000"


def test_regions_of_integer_convs_have_times_and_bytes() -> None:
    """They hold for the plans that are made of one measurement as for those of another."""
    proto, data = source(BODY, weights(outlier=300.0), SIDE), convnets.feeds(12, SIDE)
    fastest = requant.optimize(proto, data, "int8-plain", "cpu", prices=VNNI, min_sqnr=1, effort="low")
    least = fastest.report.bytes_after
    small, quick = fastest.replan(max_bytes=least + 100), fastest.replan(max_latency="99%")
    assert stored_bytes(small.model) <= least + 100
    assert record(quick, "max_latency").value <= (record(quick, "max_latency").limit or 0)
    assert worst(fastest) <= worst(quick)
