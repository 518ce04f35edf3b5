"""Integer kernels in the bodies of If and Loop: each graph has its own, and reads values from outside behind DQs."""

from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest

import requant
from requant.ir.kernels import find_kernels
from requant.ir.load import load
from requant.passes.annotations import NOISE
from requant.passes.measure_rounding_noise import MeasureRoundingNoise
from requant.runtime.feeds import Feed
from tests.passes.convnets import measured, random
from tests.passes.optimized import fused_ops

pytestmark = pytest.mark.usefixtures("integers_are_free")

HEAD = """<ir_version: 8, opset_import: ["": 17]> g (float[1,16,8,8] x) => (float[N,C,H,W] y)
    <float zero = {0}, float tenth = {0.1}, int64 n = {3}, bool yes = {1}>"""
SHARED = """c = Conv(x, w) r = Relu(c) m = ReduceMean<keepdims = 0>(x) p = Greater(m, zero) y = If (p) <
    then_branch = t () => (float[1,16,8,8] ty) { a = Conv(r, v) ty = Relu(a) },
    else_branch = e () => (float[1,16,8,8] ey) { b = Conv(r, w) ey = HardSwish(b) }>"""
OWN = """m = ReduceMean<keepdims = 0>(x) p = Greater(m, zero) y = If (p) <
    then_branch = t () => (float[1,16,8,8] ty) { a = Conv(x, v) h = HardSwish(a) ty = Conv(h, w) },
    else_branch = e () => (float[1,16,8,8] ey) { b = Exp(x) ey = Relu(b) }>"""
LOOP = """y, z = Loop (n, yes, x) <
    body = b (int64 i, bool go, float[1,16,8,8] s) => (bool on, float[1,16,8,8] d, float[1,16,8,8] o)
    { on = Identity(go) h = Conv(s, w) a = Sigmoid(h) k = Mul(h, a) m = Conv(k, v) o = Mul(m, tenth) d = Add(s, o) }>"""

KERNELS = {
    "own": (OWN, {"QLinearConv": 2, "QLinearMul": 1, "QLinearAdd": 1}),
    "loop": (LOOP, {"QLinearConv": 2, "QLinearSigmoid": 1, "QLinearMul": 1, "QLinearAdd": 1}),
}


def source(body: str) -> onnx.ModelProto:
    proto = onnx.parser.parse_model(f"{HEAD} {{ {body} }}")
    weights = {"w": random((16, 16, 1, 1)), "v": random((16, 16, 1, 1)) + np.float32(0.01)}
    proto.graph.initializer.extend(onnx.numpy_helper.from_array(array, name) for name, array in weights.items())
    return proto


def feeds() -> list[Feed]:
    """Return feeds that take each branch in turn, the first one first."""
    rng = np.random.default_rng(0)
    return [{"x": (rng.normal(size=(1, 16, 8, 8)) + sign).astype(np.float32)} for sign in (0.5, -0.5) * 6]


@pytest.mark.parametrize("name", KERNELS)
@pytest.mark.parametrize("first", [0, 1], ids=["then first", "else first"])
def test_kernels_in_a_body_run_on_integers(name: str, first: int, tmp_path: Path) -> None:
    body, kernels = KERNELS[name]
    result = requant.optimize(source(body), feeds()[first:])
    assert all(layer.quantized for layer in result.report.layers)
    assert requant.check(result.model, "cpu") == []
    onnx.checker.check_model(ir.to_proto(result.model), full_check=True)
    ops = fused_ops(result.model, tmp_path)
    assert {name: ops[name] for name in kernels} == kernels
    assert result.report.outputs["y"].sqnr > 28


def test_integers_of_the_outer_graph_are_dequantized_in_a_body(tmp_path: Path) -> None:
    """An engine fuses the nodes of one graph: the Convs in the branches are float."""
    result = requant.optimize(source(SHARED), feeds())
    reason = "its input is from the graph around its body, and engines fuse the kernels of one graph"
    layers = [(layer.quantized, layer.reason) for layer in result.report.layers]
    assert layers == [(True, ""), (False, reason), (False, reason)]
    assert requant.check(result.model, "cpu") == []
    assert fused_ops(result.model, tmp_path)["QLinearConv"] == 1
    assert result.report.outputs["y"].sqnr > 28


@pytest.mark.parametrize("name", KERNELS)
def test_noise_is_measured_in_bodies(name: str) -> None:
    model = measured(source(KERNELS[name][0]), feeds())
    MeasureRoundingNoise("cpu")(model)
    values = {value for kernel in find_kernels(model.graph) for value in kernel.values if not kernel.moves}
    found = [NOISE.get(value) for value in values]
    assert all(noise is not None and noise.shape == (1,) and noise > 0 for noise in found)


def test_the_source_is_as_it_was() -> None:
    proto = source(LOOP)
    before = proto.SerializeToString()
    load(proto)
    requant.optimize(proto, feeds())
    assert proto.SerializeToString() == before
