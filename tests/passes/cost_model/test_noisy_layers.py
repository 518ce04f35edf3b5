"""Noisy layers: the few that make nearly all of the noise at the outputs, found by rounding each alone."""

from collections.abc import Callable

import numpy as np
import onnx
import pytest

from requant.calib.collect import collect
from requant.ir.canonical.canonicalize import canonicalize
from requant.ir.linear import find_linears
from requant.ir.load import load
from requant.passes import InsertQDQ, PlanQuantizers, SelectLayers
from requant.passes.annotations import layer_records
from requant.passes.cost_model.noisy_layers import keep_in_float, noise_of_layers, noisy_layers
from requant.passes.layer_places import number_layers

Build = Callable[[str], onnx.ModelProto]
SHARES = [
    ([90.0, 3, 3, 2, 2], 0.0, {0: 0.9}),
    ([90.0, 4, 3, 2, 1], 0.0, {0: 0.9, 1: 0.04}),
    ([50.0, 40, 4, 3, 3], 0.0, {0: 0.5, 1: 0.4}),  # two branches
    ([50.0, 40, 4, 3, 3], 0.5, {}),  # one is enough, but makes less than three quarters
    ([90.0, 9, 1, 0], 0.0, {0: 0.9, 1: 0.09}),  # not more than half of the layers
    ([90.0, 9, 1, 0], 0.1, {0: 0.9}),
    ([1.0, 1, 1, 1], 0.0, {}),
    ([40.0, 20, 20, 20], 0.0, {}),
    ([99.0, 1], 0.0, {0: 0.99}),
    ([1e30, 1, 1], 0.0, {0: 1.0}),
    ([0.0, 0, 0], 0.0, {}),
]


@pytest.mark.parametrize(("noise", "enough", "expected"), SHARES)
def test_a_few_layers_that_make_three_quarters_of_the_noise(
    noise: list[float], enough: float, expected: dict[int, float]
) -> None:
    assert noisy_layers(dict(enumerate(noise)), enough) == pytest.approx(expected)


LOUDNESS = """(float[n, 32] x) => (float[n, 16] y) <float[32, 32] w, float[32, 32] u, float[32, 16] v> {
    p = Mul(x, x)  q = MatMul(p, w)  l = Log(q)  m = MatMul(l, u)  r = Relu(m)  y = MatMul(r, v)
}"""
"""Powers are mixed, and their logarithms read: the mix is only computed well in digits that float has."""


def loudness(build: Build) -> tuple[onnx.ModelProto, dict[str, np.ndarray]]:
    model, rng = build(LOUDNESS), np.random.default_rng(3)
    (weight,) = [one for one in model.graph.initializer if one.name == "w"]
    weight.CopyFrom(onnx.numpy_helper.from_array(np.eye(32, dtype=np.float32) + np.float32(1e-4), "w"))
    return model, {"x": (10 ** rng.uniform(-3, 0, (64, 1)) * rng.standard_normal((64, 32))).astype(np.float32)}


@pytest.mark.parametrize("target", ["tensorrt", "openvino"])
def test_a_layer_before_a_logarithm_is_one(build: Build, target: str) -> None:
    proto, feed = loudness(build)
    model = load(proto)
    canonicalize(model)
    collect(model, [feed])
    number_layers(model)
    plan = model.clone()
    SelectLayers((), target)(plan)
    PlanQuantizers()(plan)
    shares = noisy_layers(noise_of_layers(plan, ["q", "m", "y"], [feed]))
    assert list(shares) == [0]
    assert shares[0] > 0.9
    assert noise_of_layers(plan, ["m", "y"], [feed]).keys() == {1, 2}, "the others, where the engine leaves it in float"
    assert noise_of_layers(plan, ["q"], [feed]) == {}, "one layer makes all of the noise"
    keep_in_float(model, shares)
    SelectLayers((), target)(model)
    PlanQuantizers()(model)
    InsertQDQ(target)(model)
    records = layer_records(model)
    assert [record.quantized for record in records] == [False, True, True]
    assert "% of the noise at the model's outputs" in records[0].reason


def test_layers_that_share_their_data_are_measured_apart(build: Build) -> None:
    """Only one of two consumers of a value is read by a logarithm."""
    text = """(float[n, 32] x) => (float[n, 16] y) <float[32, 32] w, float[32, 32] u, float[32, 16] v> {
        p = Mul(x, x)  q = MatMul(p, w)  l = Log(q)  k = MatMul(p, u)  s = Add(l, k)  y = MatMul(s, v)
    }"""
    proto, feed = loudness(build)
    weight = next(one for one in proto.graph.initializer if one.name == "w")
    model = build(text)
    next(one for one in model.graph.initializer if one.name == "w").CopyFrom(weight)
    plan = load(model)
    canonicalize(plan)
    collect(plan, [feed])
    number_layers(plan)
    PlanQuantizers()(plan)
    names = [linear.output.name or "" for linear in find_linears(plan.graph)]
    assert list(noisy_layers(noise_of_layers(plan, names, [feed]))) == [names.index("q")]
