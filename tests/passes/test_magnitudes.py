"""Data of which codes would leave nothing stay in float, with a reason that is true."""

from collections.abc import Callable

import numpy as np
import onnx
import pytest

import requant

Build = Callable[[str], onnx.ModelProto]
X = [{"x": np.random.default_rng(0).standard_normal((4, 32, 32)).astype(np.float32)}]
GRAPH = """(float[n, 32, 32] x) => (float[n, 32, 32] y) <float[32, 32] w, float[32, 32] v, float c = {FACTOR}> {
    g = Mul(x, c)  h = MatMul(g, w)  s = MatMul(x, v)  r = Relu(s)  k = MatMul(r, v)  t = Tanh(h)  y = Sub(k, t) }"""


@pytest.mark.parametrize(
    ("factor", "recipe", "reason"),
    [
        ("1e30", "int8", "its input reaches 4e+30, as masks and overflows do"),
        ("1e20", "int8", "its input reaches 4e+20, as masks and overflows do"),
        ("1e20", "int8-weight", "its input reaches 4e+20, as masks and overflows do"),
        ("0.0", "int8", "its input is zero in all of the calibration data"),
        ("0.0", "int8-weight", ""),
        ("1e-38", "int8", "its input is below 5e-36 in all of the calibration data"),
        ("1e-38", "int8-weight", "its input is below 5e-36 in all of the calibration data"),
        ("1e-30", "int8", ""),
        ("1e12", "int8", ""),
    ],
)
def test_reasons_are_true(factor: str, recipe: str, reason: str, build: Build) -> None:
    report = requant.optimize(build(GRAPH.replace("FACTOR", factor)), X, recipe).report
    layers = {layer.output: layer for layer in report.layers}
    assert layers["h"].reason.startswith(reason)
    assert layers["h"].quantized == (not reason)
    assert layers["k"].quantized
