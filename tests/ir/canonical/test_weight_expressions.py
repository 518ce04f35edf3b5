"""Weights that are computed from constants are weights, whatever the ops, whatever their size."""

import logging
from collections.abc import Callable

import numpy as np
import onnx
import onnx_ir as ir
import pytest

import requant
from requant.ir.canonical import weight_expressions
from requant.ir.canonical.canonicalize import canonicalize
from requant.ir.linear import find_linears
from requant.ir.load import load
from requant.runtime.outputs import numbers
from requant.runtime.session import runner

Build = Callable[[str], onnx.ModelProto]
X = {"x": np.random.default_rng(0).standard_normal((128, 128)).astype(np.float32)}
CONSTANTS = """<float[128, 128] w, float[128, 4] a, float[4, 128] b, float scale = {0.5}, int64[1] first = {0},
    float[128] gain, float[128, 384] packed, int64[3] thirds = {128, 128, 128}, int64[1] low = {128},
    int64[1] high = {256}, int64[1] last = {1}, float[256, 128] tall, int64 zero = {0}, int64 two = {2},
    int64 stop = {256}, int64[2] square = {128, 128}, int64[4] border = {0, 5, 0, 5}, float[128, 118] narrow,
    float[4, 128, 128] experts, int64 expert = {2}, float[1, 256, 64, 1] pixels, float16[128, 128] half,
    float level = {1.0}, float none = {0.0}, int64[2, 2] places = {0, 1, 3, 4}, float[2] updates,
    float[128, 32] left, float[32, 128] right, int64[1] rows = {128}>"""

WEIGHTS = {
    "adapter": "p = MatMul(a, b) s = Mul(p, scale) v = Add(w, s) y = MatMul(x, v)",
    "equalized": "v = Mul(w, scale) y = MatMul(x, v)",
    "normalized": "n = ReduceL2<axes = [0]>(w) d = Div(w, n) v = Mul(d, gain) y = MatMul(x, v)",
    "turned": "v = Mul(w, scale) t = Transpose(v) y = MatMul(x, t)",
    "Gemm": "v = Mul(w, gain) y = Gemm<transB = 1>(x, v)",
    "read twice": "v = Mul(w, scale) h = MatMul(x, v) r = Relu(h) y = MatMul(r, v)",
    "read by something else": "v = Mul(w, scale) h = MatMul(x, v) y = Add(h, v)",
    "Split": "u, v, t = Split<axis = 1>(packed, thirds) y = MatMul(x, v)",
    "Split, three layers": """u, v, t = Split<axis = 1>(packed, thirds) h = MatMul(x, u) r = Relu(h) k = MatMul(r, v)
        q = Relu(k) y = MatMul(q, t)""",
    "SplitToSequence": "s = SplitToSequence<axis = 1>(packed, thirds) v = SequenceAt(s, two) y = MatMul(x, v)",
    "Slice": "v = Slice(packed, low, high, last) y = MatMul(x, v)",
    "Gather": "v = Gather(experts, expert) y = MatMul(x, v)",
    "Gather by a Range": "i = Range(zero, stop, two) v = Gather(tall, i) y = MatMul(x, v)",
    "GatherElements": "k, i = TopK<axis = 0>(w, rows) v = GatherElements<axis = 0>(w, i) y = MatMul(x, v)",
    "ConstantOfShape": "o = ConstantOfShape<value = float[1] {2.0}>(square) v = Mul(w, o) y = MatMul(x, v)",
    "DepthToSpace": "d = DepthToSpace<blocksize = 2>(pixels) v = Reshape(d, square) y = MatMul(x, v)",
    "Concat": "t = Concat<axis = 1>(w, packed) v = Slice(t, low, high, last) y = MatMul(x, v)",
    "Einsum": 'v = Einsum<equation = "ir,ro->io">(left, right) y = MatMul(x, v)',
    "Cast": "f = Cast<to = 1>(half) v = Mul(f, gain) y = MatMul(x, v)",
    "Trilu": "v = Trilu<upper = 0>(w) y = MatMul(x, v)",
    "Pad": "v = Pad(narrow, border) y = MatMul(x, v)",
    "ScatterND": "v = ScatterND(w, places, updates) y = MatMul(x, v)",
    "CumSum": "c = CumSum(w, zero) v = Mul(c, scale) y = MatMul(x, v)",
    "mask": "m = Abs(w) k = Greater(m, level) v = Where(k, w, none) y = MatMul(x, v)",
    "standardized": """m = ReduceMean<axes = [0]>(w) d = Sub(w, m) q = Mul(d, d) r = ReduceMean<axes = [0]>(q)
        n = Sqrt(r) v = Div(d, n) y = MatMul(x, v)""",
    "bias": "h = MatMul(x, w) c = MatMul(gain, w) y = Add(h, c)",
    "bias of a Gemm": "c = MatMul(gain, w) y = Gemm(x, w, c)",
    "constant data": "c = MatMul(left, right) r = Relu(c) k = MatMul(r, w) h = MatMul(x, w) y = Add(h, k)",
}
LAYERS = {"read twice": 2, "Split, three layers": 3}


@pytest.mark.parametrize("held", [None, 0], ids=["held", "lazy"])
@pytest.mark.parametrize("form", WEIGHTS)
def test_expressions_of_constants_are_weights(
    form: str, held: int | None, build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    if held is not None:
        monkeypatch.setattr(weight_expressions, "_HELD", held)
    proto = build(f"(float[n, 128] x) => (float[n, 128] y) {CONSTANTS} {{ {WEIGHTS[form]} }}")
    model = load(proto)
    canonicalize(model)
    linears = list(find_linears(model.graph))
    assert [linear.shape for linear in linears] == [(128, 128)] * LAYERS.get(form, 1)
    assert {node.op_type for node in model.graph} <= {"MatMul", "Gemm", "Relu", "Add"}
    agree(load(proto), model, X)


def agree(expected: ir.Model, actual: ir.Model, feed: dict[str, np.ndarray]) -> None:
    before, after = (numbers(runner(model)(feed)) for model in (expected, actual))
    np.testing.assert_allclose(after, before, atol=1e-3 * np.abs(before).max())


LAYERS_OF_OTHER_KINDS = {
    "Conv": """(float[n, 8, 12, 12] x) => (float[n, k, h, w] y) <float[64, 8, 5, 5] v, float[64, 1, 1, 1] g>
        { m = ReduceL2<axes = [1, 2, 3]>(v) d = Div(v, m) s = Mul(d, g) y = Conv(x, s) }""",
    "Conv's bias": """(float[n, 8, 12, 12] x) => (float[n, k, h, w] y) <float[64, 8, 5, 5] v>
        { b = ReduceSum<keepdims = 0>(v, axes) y = Conv(x, v, b) }""",
    "ConvTranspose": """(float[n, 16, 9] x) => (float[n, k, h] y) <float[16, 40, 16] v, float[16, 1, 1] g>
        { m = ReduceL2<axes = [1, 2]>(v) d = Div(v, m) s = Mul(d, g) y = ConvTranspose(x, s) }""",
    "batched": """(float[3, 5, 64] x) => (float[3, 5, k] y) <float[3, 64, 96] v, float[3, 1, 96] g>
        { s = Mul(v, g) y = MatMul(x, s) }""",
    "on the left": """(float[n, 96, 7] x) => (float[n, k, 7] y) <float[128, 96] v, float[128, 1] g>
        { s = Mul(v, g) y = MatMul(s, x) }""",
    "Einsum's": """(float[n, 96] x) => (float[n, k] y) <float[128, 96] v, float[128, 1] g>
        { s = Mul(v, g) y = Einsum<equation = "ni,oi->no">(x, s) }""",
    "LSTM": """(float[5, n, 64] x) => (float[5, 1, n, k] y)
        <float[1, 256, 64] v, float[1, 256, 1] g, float[1, 256, 64] r>
        { s = Mul(v, g) y = LSTM<hidden_size = 64>(x, s, r) }""",
    "table": """(int64[n] i) => (float[n, k] y) <float[300, 64] v, float[300, 1] g>
        { s = Mul(v, g) y = Gather(s, i) }""",
}


@pytest.mark.parametrize("form", LAYERS_OF_OTHER_KINDS)
def test_expressions_are_folded_whatever_layer_reads_them(form: str, build: Build) -> None:
    text = LAYERS_OF_OTHER_KINDS[form].replace("<float[64, 8, 5, 5] v>", AXES)
    proto = build(text)
    model = load(proto)
    canonicalize(model)
    assert not {node.op_type for node in model.graph} & {"Div", "Mul", "ReduceL2", "ReduceSum"}
    feeds = {"Conv": (2, 8, 12, 12), "ConvTranspose": (2, 16, 9), "batched": (3, 5, 64), "on the left": (2, 96, 7)}
    shape = feeds.get(form, feeds["Conv"] if "Conv" in form else (5, 2, 64) if form == "LSTM" else (4, 96))
    rng = np.random.default_rng(0)
    data = rng.standard_normal(shape).astype(np.float32)
    agree(load(proto), model, {"i": np.array([0, 7, 299])} if form == "table" else {"x": data})


def test_constants_that_a_conversion_makes_do_not_end_the_folding(build: Build) -> None:
    """An Unsqueeze of opset 11 has its axes in an attribute, that of 13 takes them from a Constant."""
    proto = build("""(float[5, n, 64] x) => (float[5, 1, n, k] y) <float[256, 64] v, float[256, 64] r>
        { w = Unsqueeze<axes = [0]>(v) u = Unsqueeze<axes = [0]>(r) y = LSTM<hidden_size = 64>(x, w, u) }""")
    proto.opset_import[0].version = 11
    model = load(proto)
    canonicalize(model)
    assert [node.op_type for node in model.graph] == ["LSTM"]
    agree(load(proto), model, {"x": np.random.default_rng(0).standard_normal((5, 2, 64)).astype(np.float32)})


AXES = "<float[64, 8, 5, 5] v, int64[3] axes = {1, 2, 3}>"

BODIES = {
    "in the body": "g = Mul(w, gain) z = MatMul(x, g)",
    "of a value outside": "z = MatMul(x, scaled)",
    "of both": "g = Mul(scaled, gain) z = MatMul(x, g)",
}


@pytest.mark.parametrize("form", BODIES)
def test_expressions_are_folded_for_layers_in_bodies(form: str, build: Build) -> None:
    outside = "scaled = Mul(w, scale)" if "scaled" in BODIES[form] else ""
    text = f"""(float[n, 128] x, bool c) => (float[n, 128] y) {CONSTANTS} {{ {outside}
        y = If (c) <then_branch = t () => (float[n, 128] z) {{ {BODIES[form]} }},
                    else_branch = e () => (float[n, 128] r) {{ r = Relu(x) }}> }}"""
    proto = build(text)
    model = load(proto)
    canonicalize(model)
    assert [linear.shape for linear in find_linears(model.graph)] == [(128, 128)]
    assert sorted(node.op_type for node in model.graph.all_nodes()) == ["If", "MatMul", "Relu"]
    agree(load(proto), model, X | {"c": np.array(True)})


CONDITIONS = {"constant": "", "computed": "m = ReduceMax<keepdims = 0>(w) always = Greater(m, none)"}


@pytest.mark.parametrize("form", CONDITIONS)
def test_the_branch_that_is_always_taken_is_a_part_of_the_expression(form: str, build: Build) -> None:
    condition = CONDITIONS[form] or "always = Equal(zero, zero)"
    text = f"""(float[n, 128] x) => (float[n, 128] y) {CONSTANTS} {{ {condition} k = Mul(w, gain)
        v = If (always) <then_branch = t () => (float[128, 128] p) {{ p = Mul(w, scale) }},
                         else_branch = e () => (float[128, 128] q) {{ q = Identity(k) }}>
        y = MatMul(x, v) }}"""
    model = load(proto := build(text))
    canonicalize(model)
    assert [node.op_type for node in model.graph] == ["MatMul"]
    assert len(list(find_linears(model.graph))) == len(model.graph.initializers) == 1
    agree(load(proto), model, X)


def test_an_output_of_the_graph_is_computed_as_it_was(build: Build) -> None:
    text = f"(float[n, 128] x) => (float[n, 128] y, float[128, 128] v) {CONSTANTS}"
    model = load(proto := build(f"{text} {{ v = Mul(w, scale) y = MatMul(x, v) }}"))
    canonicalize(model)
    assert [linear.weight.name for linear in find_linears(model.graph)] == ["v.folded"]
    agree(load(proto), model, X)


def test_a_half_precision_norm_does_not_overflow(build: Build) -> None:
    text = """(float16[n, 128] x) => (float16[n, 128] y) <float16[128, 128] w, float16[128] c>
        { n = ReduceL2(w) d = Div(w, n) v = Mul(d, c) y = MatMul(x, v) }"""
    proto = build(text)
    for tensor, size in zip(proto.graph.initializer, ((128, 128), (128,)), strict=True):
        tensor.CopyFrom(onnx.numpy_helper.from_array(np.full(size, 2, np.float16), tensor.name))
    model = load(proto)
    canonicalize(model)
    (linear,) = find_linears(model.graph)
    assert linear.weight.const_value is not None
    weight = linear.weight.const_value.numpy()
    assert weight.dtype == np.float16
    np.testing.assert_allclose(weight, 2 * 2 / (2 * 128), rtol=1e-2)


DECLINED = {
    "far too large": (
        "o = Expand(gain, huge) t = Transpose(o) v = MatMul(t, o) y = MatMul(x, v)",
        "is much larger than the constants that it is computed from",
    ),
    "at random": ("r = RandomNormalLike(w) v = Mul(w, r) y = MatMul(x, v)", ""),
    "without a reference implementation": (
        "p = MaxRoiPool<pooled_shape = [128, 1]>(image, region) v = Reshape(p, square) y = MatMul(x, v)",
        "it cannot be evaluated",
    ),
}


@pytest.mark.parametrize(("body", "reason"), DECLINED.values(), ids=DECLINED)
def test_what_cannot_be_folded_is_left_with_its_reason(
    body: str, reason: str, build: Build, caplog: pytest.LogCaptureFixture
) -> None:
    constants = CONSTANTS.replace(
        ">", ", int64[2] huge = {1000000000, 128}, float[1, 128, 16, 16] image, float[1, 5] region>"
    )
    model = load(build(f"(float[n, 128] x) => (float[n, m] y) {constants} {{ {body} }}"))
    with caplog.at_level(logging.DEBUG, logger="requant.ir.canonical"):
        canonicalize(model)
    assert list(find_linears(model.graph)) == []
    assert any(reason in message for message in caplog.messages) or not reason


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
