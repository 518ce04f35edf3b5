"""Weights that are computed from constants are weights."""

from collections.abc import Callable

import numpy as np
import onnx
import pytest

import requant
from requant.ir.canonical.canonicalize import canonicalize
from requant.ir.linear import find_linears
from requant.ir.load import load
from requant.runtime.outputs import numbers
from requant.runtime.session import runner

Build = Callable[[str], onnx.ModelProto]
X = {"x": np.random.default_rng(0).standard_normal((128, 128)).astype(np.float32)}
CONSTANTS = """<float[128, 128] w, float[128, 4] a, float[4, 128] b, float scale = {0.5}, int64[1] rows = {0},
    float[128] gain>"""

WEIGHTS = {
    "adapter": "p = MatMul(a, b) s = Mul(p, scale) v = Add(w, s) y = MatMul(x, v)",
    "equalized": "v = Mul(w, scale) y = MatMul(x, v)",
    "normalized": "n = ReduceL2<axes = [0]>(w) d = Div(w, n) v = Mul(d, gain) y = MatMul(x, v)",
    "turned": "v = Mul(w, scale) t = Transpose(v) y = MatMul(x, t)",
    "Gemm": "v = Mul(w, gain) y = Gemm<transB = 1>(x, v)",
    "read twice": "v = Mul(w, scale) h = MatMul(x, v) r = Relu(h) y = MatMul(r, v)",
}


@pytest.mark.parametrize("form", WEIGHTS)
def test_expressions_of_constants_are_weights(form: str, build: Build) -> None:
    proto = build(f"(float[n, 128] x) => (float[n, 128] y) {CONSTANTS} {{ {WEIGHTS[form]} }}")
    model = load(proto)
    canonicalize(model)
    linears = list(find_linears(model.graph))
    assert [linear.shape for linear in linears] == [(128, 128)] * (2 if form == "read twice" else 1)
    assert {node.op_type for node in model.graph} <= {"MatMul", "Gemm", "Relu"}
    expected, actual = (numbers(runner(version)(X)) for version in (load(proto), model))
    np.testing.assert_allclose(actual, expected, atol=1e-3 * np.abs(expected).max())


@pytest.mark.parametrize(
    "body",
    [
        "m = Mul(w, x) y = MatMul(x, m)",
        "g = Mul(x, gain) t = Transpose(g) q = MatMul(x, t) y = MatMul(q, g)",
    ],
)
def test_an_expression_of_data_is_no_weight(body: str, build: Build) -> None:
    report = requant.optimize(build(f"(float[128, 128] x) => (float[n, m] y) {CONSTANTS} {{ {body} }}"), [X]).report
    assert report.layers == []
    assert report.message == "nothing to quantize: the graph has no MatMul, Gemm or Conv with a constant weight"


def test_a_graph_without_layers_says_so(build: Build) -> None:
    report = requant.optimize(build("(float[n, 128] x) => (float[n, 128] y) { y = Relu(x) }"), [X]).report
    assert report.message == "nothing to quantize: the graph has no MatMul, Gemm or Conv with a constant weight"
