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
