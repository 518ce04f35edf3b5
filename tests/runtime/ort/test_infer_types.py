"""Types that ONNX Runtime knows, and ONNX's inference does not."""

from collections.abc import Callable

import numpy as np
import onnx
import pytest

import requant

Build = Callable[[str], onnx.ModelProto]
X = [{"x": np.random.default_rng(0).standard_normal((4, 32, 32)).astype(np.float32)}]
GRAPH = """(float[n, 32, 32] x) => (float[n, 32, 32] y) <float[32, 32] w, float[32, 32] v, float[32] b> {
    h = MatMul(x, w)  t = com.microsoft.Trilu<upper = 0>(h)  r = Relu(t)  p = MatMul(r, v)  s = Add(p, b)
    y = Relu(s) }"""


@pytest.mark.parametrize("target", ["cpu", "tensorrt"])
@pytest.mark.parametrize("recipe", ["int8", "int8-weight", "fp8"])
@pytest.mark.filterwarnings("ignore::requant.errors.TargetWarning")
def test_layers_behind_ops_without_inference_are_quantized(recipe: str, target: str, build: Build) -> None:
    report = requant.optimize(build(GRAPH), X, recipe, target).report
    reasons = {layer.reason for layer in report.layers}
    assert reasons == ({"cpu has no float8e4m3fn products"} if (recipe, target) == ("fp8", "cpu") else {""})


BEHIND = {
    "an op of unknown rank": 'h = com.microsoft.CDist <metric = "euclidean"> (a, w)',
    "an op of ai.onnx.ml": "h = ai.onnx.ml.Scaler <offset = [0.1], scale = [2.0]> (a)",
    "a rotary embedding": "u = Unsqueeze(a, i) o = com.microsoft.RotaryEmbedding <num_heads = 2> (u, p, c, d)"
    " h = Squeeze(o, i)",
    "a triangle": "h = com.microsoft.Trilu <upper = 0> (a)",
    "a fused product": "h = com.microsoft.FusedMatMul <alpha = 0.1, transB = 1> (a, w)",
}


@pytest.mark.parametrize("name", BEHIND)
def test_a_layer_behind_any_op_that_onnxruntime_knows_is_quantized(name: str, build: Build) -> None:
    proto = build(f"""(float[n, 32] x) => (float[n, 32] y)
        <float[32, 32] w, float[32, 32] v, float[9, 8] c, float[9, 8] d, int64[1] i = {{1}}, int64[1] p = {{0}}> {{
        a = MatMul(x, w) {BEHIND[name]} r = Relu(h) y = MatMul(r, v) }}""")
    proto.opset_import.append(onnx.helper.make_opsetid("ai.onnx.ml", 1))
    feeds = [{"x": np.random.default_rng(seed).standard_normal((32, 32)).astype(np.float32)} for seed in range(4)]
    layers = requant.optimize(proto, feeds, "int8-plain", "tensorrt").report.layers
    assert [layer.quantized for layer in layers if layer.op_type == "MatMul"][-1], layers[-1].reason


def test_an_op_that_no_engine_knows_is_named(build: Build) -> None:
    proto = build("(float[4, 32] x) => (float[4, 32] y) <float[32, 32] w> { m = MatMul(x, w) y = other.Frobnicate(m) }")
    proto.opset_import.append(onnx.helper.make_opsetid("other", 1))
    with pytest.raises(requant.SourceError, match=r"other:Frobnicate.*is not a registered function/op"):
        requant.optimize(proto, [{"x": np.ones((4, 32), np.float32)}])
