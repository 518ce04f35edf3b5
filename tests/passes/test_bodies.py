"""Linear layers in the bodies of If, Loop and Scan: calibrated, rounded and lowered where they are."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest

import requant
from requant.calib.collect import collect, first_feeds, reaching_feeds, statistics
from requant.ir.canonical.canonicalize import canonicalize
from requant.ir.linear import find_linears
from requant.ir.load import load
from requant.passes import InsertQDQ, PlanQuantizers
from requant.passes.gptq import Gptq
from requant.result import Precision
from requant.runtime.feeds import Feed
from requant.runtime.outputs import numbers
from requant.runtime.session import runner
from tests.passes.optimized import before_exact_scales, fused_ops

Build = Callable[[str], onnx.ModelProto]

HEAD = """(float[8,32] x) => (float[8,N] y) <float[32] g, float[32] b, float[32,32] w, float[32,32] v, float zero = {0},
          float tenth = {0.1}, int64 n = {3}, bool yes = {1}>"""
BRANCHES = """c = ReduceSum<keepdims = 0>(x) p = Greater(c, zero) y = If (p) <
    then_branch = t () => (float[8,32] ty) { ty = MatMul(x, w) },
    else_branch = e () => (float[8,32] ey) { r = Relu(x) ey = MatMul(r, v) }>"""
LOOP = """y, z = Loop (n, yes, x) <body = b (int64 i, bool go, float[8,32] s) => (bool on, float[8,32] d, float[8,32] o)
    { on = Identity(go) l = LayerNormalization(s, g, b) h = MatMul(l, w) a = Relu(h) m = MatMul(a, v)
      o = Mul(m, tenth) d = Add(s, o) }>"""
SCAN = """c = ReduceMax<axes = [0], keepdims = 0>(x) z, y = Scan <num_scan_inputs = 1,
    body = b (float[32] s, float[32] e) => (float[32] d, float[32] o) {
        q = MatMul(s, w) r = MatMul(e, v) f = Add(q, r) k = Mul(f, tenth) d = Tanh(k) o = Identity(d) }> (c, x)"""
RNG = np.random.default_rng(0)
X: list[Feed] = [{"x": (RNG.standard_normal((8, 32)) + sign).astype(np.float32)} for sign in (1, -1) * 6]
POSITIVE = X[::2]


def model_of(text: str, build: Build) -> ir.Model:
    model = load(build(f"{HEAD} {{ {text} }}"))
    canonicalize(model)
    return model


@pytest.mark.parametrize("text", [BRANCHES, LOOP, SCAN], ids=["If", "Loop", "Scan"])
@pytest.mark.parametrize("target", ["tensorrt", "cpu"])
@pytest.mark.parametrize("precision", ["float32", "float16"])
def test_layers_in_bodies_are_quantized(text: str, target: str, precision: Precision, build: Build) -> None:
    proto = build(f"{HEAD} {{ {text} }}")
    result = requant.optimize(proto, X, target=target, precision=precision)
    assert [(layer.op_type, layer.quantized) for layer in result.report.layers] == [("MatMul", True)] * 2
    assert set(result.report.layer_distances) >= {layer.output for layer in result.report.layers if "Loop" not in text}
    assert requant.check(result.model, target) == []
    onnx.checker.check_model(ir.to_proto(result.model), full_check=True)
    float_model, artifact = runner(load(proto)), runner(before_exact_scales(result.model))
    expected, actual = (np.concatenate([numbers(run(feed)) for feed in X]) for run in (float_model, artifact))
    assert 0 < np.linalg.norm(expected - actual) <= 0.05 * np.linalg.norm(expected)


def test_statistics_cover_all_iterations(build: Build) -> None:
    model = model_of(LOOP, build)
    collect(model, X)
    names = ["s", *(linear.data.name or "" for linear in find_linears(model.graph))]
    states = [part for feed in X for part in runner(model, ["s"])(feed)[-1]]
    assert (names, len(states)) == (["s", "l", "a"], 3 * len(X))
    for linear, relu in zip(find_linears(model.graph), (False, True), strict=True):
        measured = statistics(linear.data)
        parts = np.concatenate([part for feed in X for part in runner(model, [linear.data.name or ""])(feed)[-1]])
        assert measured is not None
        assert measured.count == len(parts) == 3 * 8 * len(X)
        np.testing.assert_allclose(measured.maximum, parts.max(0), rtol=1e-5)
        assert (measured.minimum.min() == 0) == relu


def test_a_feed_that_reaches_a_branch_first_is_kept_to_verify_with(build: Build) -> None:
    model = model_of(BRANCHES, build)
    collect(model, [*POSITIVE, *X[1::2]])
    assert (len(first_feeds(model)), [feed is X[1] for feed in reaching_feeds(model)]) == (5, [True])


def test_a_branch_that_is_never_taken_stays_in_float(build: Build) -> None:
    for data, taken in ((X[::2], (True, False)), (X[1::2], (False, True))):
        result = requant.optimize(build(f"{HEAD} {{ {BRANCHES} }}"), data, target="tensorrt")
        reason = "no calibration data reach the branch or the loop that it is in"
        layers = [(layer.quantized, layer.reason) for layer in result.report.layers]
        assert layers == [(True, "") if is_taken else (False, reason) for is_taken in taken]
    dynamic = requant.optimize(build(f"{HEAD} {{ {BRANCHES} }}"), X[::2], "int8-dynamic", "cpu")
    assert all(layer.quantized for layer in dynamic.report.layers)


def test_a_transform_is_not_skipped_in_a_branch_that_the_first_samples_do_not_take(build: Build) -> None:
    hot, signs = np.where(np.arange(32) == 3, 30, 1), [1] * 6 + [-1] * 6
    data = [{"x": (feed["x"] * hot).astype(np.float32)} for feed in (*X[::2], *X[1::2])]
    data = [{"x": feed["x"] * np.sign(feed["x"].sum()) * sign} for feed, sign in zip(data, signs, strict=True)]
    for feeds in (data, data[::-1]):
        result = requant.optimize(build(f"{HEAD} {{ {BRANCHES} }}"), feeds, target="tensorrt", evaluation=data)
        assert {site.added_nodes > 0 for site in result.report.sites if site.kind == "Inserted"} == {True}


def test_a_loop_that_is_never_entered_stays_in_float(build: Build) -> None:
    text = LOOP.replace("Loop (n,", "Loop (none,").replace("y, z =", "k = Size(x) none = Sub(k, k) y, z =")
    result = requant.optimize(build(f"{HEAD} {{ {text} u = MatMul(y, w) }}".replace("N] y", "N] u")), X)
    assert [layer.quantized for layer in result.report.layers] == [False, False, True]


def test_weights_and_quantizers_are_in_the_body_that_reads_them(build: Build) -> None:
    """ONNX Runtime's fusions look for an integer weight in the graph of its product."""
    model = model_of(f"m = MatMul(x, w) {BRANCHES.replace('y = If', 'q = If')} y = Add(m, q)", build)
    collect(model, X)
    PlanQuantizers()(model)
    Gptq()(model)
    InsertQDQ("tensorrt")(model)
    for graph in model.graphs():
        pairs = Counter(node.op_type for node in graph if node.op_type.endswith("Linear"))
        assert pairs == {"QuantizeLinear": 1, "DequantizeLinear": 2}
        parameters = [node.inputs[1:] for node in graph if node.op_type.endswith("Linear")]
        assert all(value.graph is graph for values in parameters for value in values if value)
        weights = [value.dtype for value in graph.initializers.values() if value.shape == [32, 32]]
        assert weights == [ir.DataType.INT8]
    names = [value.name for graph in model.graphs() for value in graph.initializers.values()]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("text", [BRANCHES, LOOP, SCAN], ids=["If", "Loop", "Scan"])
@pytest.mark.parametrize(
    ("recipe", "kernel"), [("int8", "MatMulIntegerToFloat"), ("int8-dynamic", "DynamicQuantizeMatMul")]
)
def test_onnx_runtime_has_integer_kernels_in_bodies(
    text: str, recipe: str, kernel: str, build: Build, tmp_path: Path
) -> None:
    result = requant.optimize(build(f"{HEAD} {{ {text} }}"), X, recipe, "cpu")
    assert fused_ops(result.model, tmp_path)[kernel] == 2


@pytest.mark.parametrize("recipe", ["int8-weight", "int4-weight"])
def test_weights_alone_are_quantized_in_bodies(recipe: str, build: Build) -> None:
    result = requant.optimize(build(f"{HEAD} {{ {LOOP} }}"), X, recipe, "cpu")
    assert [layer.quantized for layer in result.report.layers] == [True, True]
    assert result.report.outputs["y"].sqnr > 10


def test_a_body_that_is_not_entered_is_listed(build: Build) -> None:
    text = SCAN.replace("num_scan_inputs = 1,", "num_scan_inputs = 1, scan_output_axes = [1],")
    graph = f"{HEAD} {{ {text} t = Transpose(y) u = MatMul(t, w) }}"
    result = requant.optimize(build(graph.replace("N] y", "N] u")), X)
    layers = {layer.output: layer.reason for layer in result.report.layers}
    assert layers == {"u": "", "q": NOT_ENTERED, "r": NOT_ENTERED}


NOT_ENTERED = "it is in the body of a Scan that stacks along another axis than the first"


LEFT = """y = If (c) <then_branch = a () => (float[32,24] p) { m = MatMul(w, x) p = Relu(m) },
    else_branch = b () => (float[32,24] q) { q = Identity(x) }>"""


def test_products_in_a_body_are_brought_into_the_form_of_layers(build: Build) -> None:
    model = load(build(f"(float[32,24] x, bool c) => (float[32,24] y) <float[32,32] w> {{ {LEFT} }}"))
    canonicalize(model)
    (linear,) = find_linears(model.graph)
    assert linear.node.graph is not model.graph
    assert [node.op_type for node in linear.node.graph or ()] == ["Transpose", "MatMul", "Relu", "Transpose"]


RECURRENT = """y = If (c) <then_branch = a () => (float[5,1,2,16] p) { p = LSTM<hidden_size = 16>(x, w, r) },
    else_branch = b () => (float[5,1,2,16] q) { q = LSTM<hidden_size = 16>(x, w, s) }>"""


def test_an_lstm_in_a_body_is_quantized_there(build: Build) -> None:
    weights = "<float[1,64,24] w, float[1,64,16] r, float[1,64,16] s>"
    proto = build(f"(float[5,2,24] x, bool c) => (float[5,1,2,16] y) {weights} {{ {RECURRENT} }}")
    result = requant.optimize(proto, None, "int8-dynamic", "cpu")
    assert [(layer.op_type, layer.quantized) for layer in result.report.layers] == [("LSTM", True)] * 2
    x = np.random.default_rng(0).normal(size=(5, 2, 24)).astype(np.float32)
    for c in (True, False):
        feed = {"x": x, "c": np.array(c)}
        expected, actual = (numbers(runner(model)(feed)[0]) for model in (load(proto), result.model))
        assert 0 < np.linalg.norm(expected - actual) < 0.1 * np.linalg.norm(expected)
