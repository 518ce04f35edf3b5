"""A limit of the loss: it holds on the samples that judge, with few layers in float, or the report says why not."""

from collections.abc import Callable

import numpy as np
import onnx
import pytest

import requant
from models.few import FAMILIES, Feed
from requant.passes.records import LayerRecord
from requant.result import Lowering
from requant.runtime.price_tables import AVX2, VNNI
from requant.runtime.targets import TARGETS
from requant.stages.parts import saved_time
from tests.passes import convnets
from tests.passes.convnets import source
from tests.passes.test_plan_integer_values import BODY, SIDE, weights

Build = Callable[[str], onnx.ModelProto]


def worst(result: requant.Result) -> float:
    return min(distance.sqnr for distance in result.report.outputs.values())


def in_float(result: requant.Result) -> list[str]:
    return [layer.name for layer in result.report.layers if not layer.quantized]


@pytest.mark.slow
def test_a_limit_decides_on_integer_convs_in_both_directions() -> None:
    """Without one, time and noise are weighed; the first Conv writes a channel that is far larger than the others."""
    proto, data = source(BODY, weights(outlier=300.0), SIDE), convnets.feeds(16, SIDE)
    results = [requant.optimize(proto, data, "int8-plain", "cpu", min_sqnr=limit) for limit in (None, 10, 30, 90)]
    weighed, low, high, out_of_reach = (len(in_float(result)) for result in results)
    assert low == 0 < weighed <= high < out_of_reach == 4
    assert worst(results[1]) < 30 <= worst(results[2])
    ranking = requant.advise(proto, data, "int8-plain", "cpu").layers
    assert ranking[0].name in ("c", "d"), "both round that channel"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "target", "count"),
    [("mlp", "tensorrt", 24), ("lora", "cpu", 8), ("audio", "cpu", 24)],
)
def test_the_limit_holds_or_the_model_stays_in_float(name: str, target: str, count: int) -> None:
    """With 8 samples nothing is held out, and the report measures on the same samples of the calibration data."""
    family = FAMILIES[name](2)
    for limit in (15.0, 30.0, 90.0):
        result = requant.optimize(family.model, family.feeds(count, 0), "int8", target, min_sqnr=limit)
        if any(layer.quantized for layer in result.report.layers):
            assert worst(result) >= limit
            (note,) = (note for note in result.report.notes if note.startswith(f"min_sqnr={limit:g}: "))
            assert ("held-out" if count > 12 else "calibration") in note
        elif "min_sqnr" in result.report.message:
            assert f"min_sqnr={limit:g}" in result.report.message
            assert limit > 15, "each of these has more than 15 dB in int8"
        else:
            assert target == "cpu", "nothing pays there"


def test_a_limit_that_holds_anyway_changes_nothing() -> None:
    family = FAMILIES["mlp"](0)
    data = family.feeds(24, 0)
    before, after = (requant.optimize(family.model, data, "int8", "tensorrt", min_sqnr=one) for one in (None, 10))
    assert before.report.outputs == after.report.outputs
    assert in_float(after) == []


@pytest.mark.slow
def test_more_is_asked_for_by_more_layers_in_float() -> None:
    family = FAMILIES["mlp"](1)
    data = family.feeds(24, 0)
    results = [requant.optimize(family.model, data, "int8", "tensorrt", min_sqnr=limit) for limit in (30, 35)]
    assert 0 < len(in_float(results[0])) < len(in_float(results[1]))
    assert all("of the noise that min_sqnr=35 allows" in layer.reason for layer in _left(results[1]))


def _left(result: requant.Result) -> list[LayerRecord]:
    return [layer for layer in result.report.layers if not layer.quantized]


TEXT = """(float[n, 32] x) => (float[n, 16] y) <
    float[32, 32] a, float[32, 32] b, float[32, 32] c, float[32, 32] w, float[32, 16] v, float[1] s> {
    p = MatMul(x, a)  q = Mul(p, p)  r = Mul(q, p)  t = MatMul(r, b)  u = Mul(t, t)  k = MatMul(u, c)
    l = Tanh(k)  m = Mul(l, s)  n = MatMul(x, w)  o = Add(n, m)  h = Relu(o)  y = MatMul(h, v)
}"""
"""A branch whose values have long tails, of which the outputs see a thousandth, beside a path that they depend on."""


@pytest.fixture
def branches(build: Build) -> onnx.ModelProto:
    proto = build(TEXT)
    for tensor in proto.graph.initializer:
        if tensor.name == "s":
            tensor.CopyFrom(onnx.numpy_helper.from_array(np.full(1, 1e-3, np.float32), "s"))
    return proto


def rows(count: int) -> list[Feed]:
    rng = np.random.default_rng(0)
    return [{"x": rng.standard_normal((4, 32)).astype(np.float32)} for _ in range(count)]


def test_fewer_layers_stay_in_float_than_by_the_order_of_their_own_loss(branches: onnx.ModelProto) -> None:
    data, recipe = rows(24), "int8-plain"
    plain = requant.optimize(branches, data, recipe, "tensorrt")
    limit = worst(plain) + 3
    ours = requant.optimize(branches, data, recipe, "tensorrt", min_sqnr=limit)
    local = {layer["name"]: layer["sqnr"] for layer in plain.report.to_dict()["layers"]}
    order = sorted(local, key=lambda name: local[name])
    needed = next(
        count
        for count in range(1, len(order) + 1)
        if worst(requant.optimize(branches, data, recipe, "tensorrt", keep=order[:count])) >= limit
    )
    assert worst(ours) >= limit
    assert len(in_float(ours)) < needed


@pytest.mark.parametrize("target", ["tensorrt", "cpu"])
def test_the_number_of_layers_to_keep(target: str) -> None:
    """They are those that the ranking begins with."""
    family = FAMILIES["mlp"](1)
    data = family.feeds(24, 0)
    ranking = [layer.name for layer in requant.advise(family.model, data, "int8", target).layers]
    result = requant.optimize(family.model, data, "int8", target, keep=2)
    assert set(in_float(result)) == set(ranking[:2])
    assert all(layer.reason.startswith("kept by request: ") for layer in _left(result))


def test_all_layers_may_be_kept() -> None:
    family = FAMILIES["mlp"](1)
    result = requant.optimize(family.model, family.feeds(24, 0), "int8", "tensorrt", keep=100)
    assert len(in_float(result)) == len(result.report.layers)


def test_other_data_may_miss_the_limit_and_a_note_says_so() -> None:
    """The calibration data decide; ``evaluation`` is what the report measures on."""
    family = FAMILIES["mlp"](0)
    loud = [{"x": 30 * feed["x"]} for feed in family.feeds(4, 1)]
    result = requant.optimize(family.model, family.feeds(24, 0), "int8", "tensorrt", min_sqnr=20, evaluation=loud)
    assert worst(result) < 20
    assert any("less than min_sqnr=20" in note for note in result.report.notes)


def test_outputs_of_integers_tell_nothing(build: Build) -> None:
    proto = build("(float[n, 32] x) => (int64[n, 1] y) <float[32, 32] w> { z = MatMul(x, w)  y = ArgMax(z) }")
    result = requant.optimize(proto, rows(24), "int8", "tensorrt", min_sqnr=50)
    assert in_float(result) == []
    assert any("no output of floats" in note for note in result.report.notes)


@pytest.mark.parametrize("limit", [-3, 0, float("nan"), float("inf"), "30", True])
def test_a_limit_is_a_number_of_decibels(limit: float) -> None:
    with pytest.raises(requant.RequantError, match="min_sqnr takes a number of decibels above 0, not"):
        requant.optimize("model.onnx", "data.npz", min_sqnr=limit)


def test_noise_is_measured_on_data() -> None:
    with pytest.raises(requant.RequantError, match="min_sqnr=30 needs calibration data"):
        requant.optimize("model.onnx", min_sqnr=30)
    with pytest.raises(requant.RequantError, match="keep=3 needs calibration data"):
        requant.optimize("model.onnx", keep=3)


def test_a_multiplication_costs_what_the_engine_s_prices_say() -> None:
    assert saved_time(Lowering("cpu", prices=VNNI).engine) == pytest.approx(0.0172 - 0.0044)
    assert saved_time(Lowering("cpu", prices=AVX2).engine) == pytest.approx(0.022 - 0.01)
    assert saved_time(TARGETS["tensorrt"]) is None
