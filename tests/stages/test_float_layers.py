"""Layers that make nearly all of the noise stay in float; only then, and only if others are in int8 all the same."""

from collections.abc import Callable

import numpy as np
import onnx
import pytest

import requant
from requant.runtime.feeds import Feed
from requant.stages.measure import POOR

Build = Callable[[str], onnx.ModelProto]
BODY = "p = Mul(x, x)  q = MatMul(p, w)  l = {}(q)  m = MatMul(l, u)  r = Relu(m)  y = MatMul(r, v)"
TEXT = "(float[n, 32] x) => (float[n, 16] y) <float[32, 32] w, float[32, 32] u, float[32, 16] v> {{ " + BODY + " }}"
REASON = "of the noise at the model's outputs"


def model(build: Build, function: str) -> onnx.ModelProto:
    """Powers that are mixed, then their logarithms, or what ``function`` makes of them."""
    proto = build(TEXT.format(function))
    weight = next(one for one in proto.graph.initializer if one.name == "w")
    weight.CopyFrom(onnx.numpy_helper.from_array(np.eye(32, dtype=np.float32) + np.float32(1e-4), "w"))
    return proto


def feeds(count: int, seed: int) -> list[Feed]:
    """Sounds of which the quietest are a thousandth of the loudest."""
    rng = np.random.default_rng(seed)
    loudness = 10 ** rng.uniform(-3, 0, (count, 1, 1))
    return [{"x": x} for x in (loudness * rng.standard_normal((count, 4, 32))).astype(np.float32)]


def in_float(result: requant.Result) -> list[str]:
    return [layer.output for layer in result.report.layers if REASON in layer.reason]


@pytest.mark.usefixtures("integers_are_free")
@pytest.mark.parametrize("target", ["tensorrt", "cpu"])
@pytest.mark.parametrize("count", [24, 8])
def test_a_spectrum_is_read_in_float(build: Build, target: str, count: int) -> None:
    """With 8 samples nothing is held out, and the calibration data judge."""
    proto = model(build, "Log")
    result = requant.optimize(proto, feeds(count, 0), target=target, precision="float32")
    assert in_float(result) == ["q"]
    assert [layer.quantized for layer in result.report.layers] == [False, True, True]
    (note,) = (note for note in result.report.notes if "noisy" in note)
    assert ("held-out" if count > 12 else "calibration") in note
    before = requant.optimize(proto, feeds(count, 0), "int8-plain", target, precision="float32")
    fresh = feeds(16, 1)
    distances = [requant.compare(proto, one.model, fresh).outputs["y"].sqnr for one in (before, result)]
    assert distances[1] > max(28, distances[0] + 10)
    assert not in_float(before), "the plain recipe quantizes the graph as it is"


@pytest.mark.usefixtures("integers_are_free")
@pytest.mark.parametrize(("target", "is_left"), [("tensorrt", True), ("cpu", False)])
def test_a_layer_that_moves_little_is_left_where_there_are_no_few_noisy_ones(
    build: Build, target: str, is_left: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The spectrum of 32 channels is a fiftieth of the traffic; on the CPU a Conv in float costs its neighbours."""
    monkeypatch.setattr("requant.stages.float_layers.noisy_layers", lambda *_: {})
    monkeypatch.setattr("requant.stages.gain.LEAST_GAIN", 0.0)
    proto = build(TEXT.replace("[32, 32] u", "[32, 1024] u").replace("[32, 16] v", "[1024, 16] v").format("Log"))
    weight = next(one for one in proto.graph.initializer if one.name == "w")
    weight.CopyFrom(onnx.numpy_helper.from_array(np.eye(32, dtype=np.float32) + np.float32(1e-4), "w"))
    result = requant.optimize(proto, feeds(24, 0), target=target, precision="float32")
    assert (in_float(result) == ["q"]) is is_left


def test_good_outputs_leave_all_layers_in_int8(build: Build) -> None:
    result = requant.optimize(model(build, "Neg"), feeds(24, 0), target="tensorrt")
    assert all(layer.quantized for layer in result.report.layers)


def test_random_data_tell_nothing(build: Build) -> None:
    with pytest.warns(requant.errors.SyntheticCalibrationWarning):
        result = requant.optimize(model(build, "Log"), target="tensorrt")
    assert not in_float(result)


def test_a_plan_that_leaves_nothing_in_int8_is_not_taken(build: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    """Layers in float can take others with them, as on a CPU where the Convs that remain do not pay."""
    shares = {0: 0.9, 1: 0.05, 2: 0.05}
    monkeypatch.setattr("requant.stages.float_layers.noisy_layers", lambda *_: shares)
    proto = model(build, "Neg")
    monkeypatch.setattr("requant.stages.float_layers.POOR", 200.0)
    result = requant.optimize(proto, feeds(24, 0), target="tensorrt")
    assert all(layer.quantized for layer in result.report.layers)


def test_a_plan_that_is_no_better_is_not_taken(build: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("requant.stages.float_layers.LEAST_GAIN", 200.0)
    result = requant.optimize(model(build, "Log"), feeds(24, 0), target="tensorrt")
    assert all(layer.quantized for layer in result.report.layers)
    assert not any("noisy" in note for note in result.report.notes)


@pytest.mark.parametrize(("recipe", "is_poor"), [("int8", False), ("int8-plain", True)])
def test_a_poor_output_is_noted(build: Build, recipe: str, is_poor: bool) -> None:
    report = requant.optimize(model(build, "Log"), feeds(24, 0), recipe, "tensorrt").report
    assert (report.outputs["y"].sqnr < POOR) is is_poor
    assert any("output 'y' has" in note and "less than 20" in note for note in report.notes) is is_poor


@pytest.mark.usefixtures("integers_are_free")
@pytest.mark.parametrize(("function", "is_quantized"), [("Log", False), ("Neg", True)])
def test_poor_outputs_for_little_time_are_no_gain(build: Build, function: str, is_quantized: bool) -> None:
    """One layer of 32 · 32 weights beside one of 32 · 512 that is kept: 1/17 of the time at most."""
    text = "(float[n, 32] x) => (float[n, 512] y) <float[32, 32] w, float[32, 512] u>"
    proto = build(text + f"{{ p = Mul(x, x)  q = MatMul(p, w)  l = {function}(q)  y = MatMul(l, u) }}")
    weight = next(one for one in proto.graph.initializer if one.name == "w")
    weight.CopyFrom(onnx.numpy_helper.from_array(np.eye(32, dtype=np.float32) + np.float32(1e-4), "w"))
    layers = requant.optimize(proto, feeds(24, 0), target="cpu", keep=["y"]).report.layers
    assert [layer.quantized for layer in layers] == [is_quantized, False]
    reason = "1.06 times as fast as float, less than 1.15 times, and its worst output would not be finite"
    assert (reason in layers[0].reason) is not is_quantized
