"""Data that quantization would round to nothing stay in float, with a reason that is true."""

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
        ("0.0", "int8", "its input is 0 in all of calibration"),
        ("0.0", "int8-weight", ""),
        ("1e-38", "int8", "its input is at most"),
        ("1e-38", "int8-weight", "its input is at most"),
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


@pytest.mark.parametrize(
    ("recipe", "reason"),
    [("int8", ""), ("int8-weight", ""), ("int8-dynamic", "its input is NaN or infinite in some rows")],
)
def test_rows_of_nan_that_are_thrown_away_spoil_no_others(recipe: str, reason: str, build: Build) -> None:
    graph = """(float[n, 16, 32] x, bool[n, 16, 1] padded) => (float[n, 16, 32] y)
        <float[32, 32] w, float[32, 32] v, float zero = {0}> {
        z = Where(padded, zero, x) d = Div(x, z) h = Mul(d, z) p = MatMul(h, w) t = Where(padded, zero, p)
        y = MatMul(t, v) }"""
    x = np.random.default_rng(0).standard_normal((6, 16, 32)).astype(np.float32)
    data = {"x": np.where(x == 0, 1, x), "padded": (np.arange(16) > 11)[None, :, None].repeat(6, 0)}
    report = requant.optimize(build(graph), data, recipe).report
    spoilt, other = report.layers
    assert spoilt.reason.startswith(reason)
    assert spoilt.quantized == (not reason)
    assert other.quantized
    assert report.outputs["y"].sqnr > 20
    assert report.calibration["dropped"] == "24 of 96 rows at 'h' are NaN or infinite and were left out"
