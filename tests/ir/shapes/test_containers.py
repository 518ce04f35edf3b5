"""Sequences, optionals, maps and text between layers and as outputs."""

from collections.abc import Callable

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from numpy.typing import NDArray

import requant
from requant.errors import RequantError
from requant.ir.canonical.canonicalize import canonicalize
from requant.ir.load import load
from requant.runtime.outputs import numbers, texts
from requant.runtime.session import runner

Build = Callable[[str], onnx.ModelProto]
Arrays = list[NDArray[np.generic]]
Compute = Callable[[ir.Model], Arrays]
Deviation = Callable[[Arrays, Arrays], float]
X = {"x": np.random.default_rng(0).standard_normal((4, 4, 32)).astype(np.float32)}
HEAD, TAIL = "h = MatMul(x, w)", "y = MatMul(c, v)"

GRAPHS = {
    "sequence between": ("float[n, m, 32] y", "s = SplitToSequence<axis = 1, keepdims = 1>(h) c = SequenceAt(s, zero)"),
    "sequence put together": (
        "float[n, m, 32] y",
        """s = SplitToSequence<axis = 1>(h) a = SequenceAt(s, zero) b = SequenceAt(s, one) t = SequenceConstruct(b, a)
        u = SequenceInsert(t, a) e = SequenceErase(u, zero) c = ConcatFromSequence<axis = 1>(e)""",
    ),
    "empty sequence": (
        "float[n, m, 32] y",
        "e = SequenceEmpty() u = SequenceInsert(e, h) k = SequenceInsert(u, h) c = ConcatFromSequence<axis = 1>(k)",
    ),
    "sequence out": ("float[n, m, 32] y, seq(float[n, m, 32]) s", "s = SplitToSequence<axis = 1>(h) c = Relu(h)"),
    "optional between": ("float[n, m, 32] y", "o = Optional(h) c = OptionalGetElement(o)"),
    "optional asked": (
        "float[n, m, 32] y, bool q",
        "o = Optional(h) q = OptionalHasElement(o) c = OptionalGetElement(o)",
    ),
    "optional of a sequence": (
        "float[n, m, 32] y",
        "s = SequenceConstruct(h, x) o = Optional(s) g = OptionalGetElement(o) c = SequenceAt(g, zero)",
    ),
    "sequence through Identity": (
        "float[n, m, 32] y",
        "s = SequenceConstruct(h, x) i = Identity(s) c = SequenceAt(i, one)",
    ),
    "sequence through If": (
        "float[n, m, 32] y",
        """r = ReduceMax<keepdims = 0>(h) p = Greater(r, r) s = SequenceConstruct(h, x) t = If (p) <
            then_branch = a () => (seq(float[n, m, 32]) ta) { ta = SequenceInsert(s, h) },
            else_branch = b () => (seq(float[n, m, 32]) tb) { tb = SequenceInsert(s, x) }> c = SequenceAt(t, one)""",
    ),
    "sequence through Loop": (
        "float[n, m, 32] y",
        """e = SequenceConstruct(h) l = Loop (two, yes, e) <body = b (int64 i, bool go, seq(float[n, m, 32]) so)
            => (bool more, seq(float[n, m, 32]) grown) { more = Identity(go) grown = SequenceInsert(so, x) }>
        c = SequenceAt(l, zero)""",
    ),
    "text out": (
        "float[n, m, 32] y, string[4] t",
        """c = Relu(h) r = ReduceSum(h, axes) b = Greater(r, half) q = Squeeze(b, axes) t = Where(q, good, bad)""",
    ),
    "text between": (
        "float[n, m, 32] y",
        "r = ReduceSum(h, axes) b = Greater(r, half) t = Where(b, good, bad) e = Equal(t, good) c = Where(e, h, x)",
    ),
}
INITIAL = """<float[32, 32] w, float[32, 32] v, int64 zero = {0}, int64 one = {1}, int64 two = {2}, bool yes = {1},
    int64[2] axes = {1, 2}, float half = {0.5}>"""


def _model(form: str, build: Build) -> onnx.ModelProto:
    outputs, body = GRAPHS[form]
    for place in ("good", "bad"):
        body = body if place not in body else f'{place} = Constant<value_string = "{place}">() {body}'
    model = build(f"(float[n, 4, 32] x) => ({outputs}) {INITIAL} {{ {HEAD} {body} {TAIL} }}")
    model.opset_import[0].version = 19
    model.ir_version = 9
    return model


@pytest.mark.parametrize("form", GRAPHS)
@pytest.mark.parametrize("target", ["cpu", "tensorrt"])
def test_layers_around_containers_are_quantized(form: str, target: str, build: Build) -> None:
    proto = _model(form, build)
    result = requant.optimize(proto, [X] * 2, target=target, precision="float32")
    layers = {layer.output: layer for layer in result.report.layers}
    assert all(layer.quantized for layer in layers.values()), layers
    assert not result.report.message
    onnx.checker.check_model(ir.to_proto(result.model), full_check=True)
    for expected, actual in zip(runner(load(proto))(X), runner(result.model)(X), strict=True):
        assert texts(actual) == texts(expected)
        assert np.linalg.norm(numbers(actual) - numbers(expected)) <= 0.05 * np.linalg.norm(numbers(expected))


@pytest.mark.parametrize("form", GRAPHS)
def test_canonical_form_keeps_types_that_are_not_tensors(form: str, build: Build) -> None:
    model = load(_model(form, build))
    canonicalize(model)
    sequences = {"SequenceConstruct", "SequenceInsert", "SequenceErase", "SplitToSequence", "SequenceEmpty"}
    for node in model.graph.all_nodes():
        kind = type(node.outputs[0].type)
        assert (kind is ir.SequenceType) >= (node.op_type in sequences), node
        assert (kind is ir.OptionalType) == (node.op_type == "Optional"), node


@pytest.mark.parametrize(
    ("kind", "use", "message"),
    [
        ("string[n]", "q = Shape(t)", "input 't' holds text, so synthetic data cannot be made"),
        ("seq(float[n])", "q = SequenceLength(t)", "input 't' is not a tensor, so synthetic data cannot be made"),
    ],
)
@pytest.mark.filterwarnings("ignore::requant.errors.SyntheticCalibrationWarning")
def test_random_data_are_tensors_of_numbers(kind: str, use: str, message: str, build: Build) -> None:
    text = f"({kind} t, float[n, 32] x) => (float[n, 32] y, int64[m] q) <float[32, 32] w> {{ y = MatMul(x, w) {use} }}"
    with pytest.raises(RequantError, match=message):
        requant.optimize(build(text), None, "int8-plain")


def test_data_for_a_sequence_are_refused(build: Build) -> None:
    text = "(seq(float[n]) t, float[n, 32] x) => (float[n, 32] y, int64 q) <float[32, 32] w> {"
    proto = build(f"{text} y = MatMul(x, w) q = SequenceLength(t) }}")
    with pytest.raises(RequantError, match="input 't' is not a tensor, and calibration data can only hold tensors"):
        requant.optimize(proto, [{"t": np.ones((1, 3), np.float32), "x": np.ones((2, 32), np.float32)}])


def test_sizes_of_parts_may_be_computed(build: Build) -> None:
    text = """(float[n, 4, 32] x, int64 size) => (float[n, m, 32] y) <float[32, 32] w, int64 zero = {0}> {
        h = MatMul(x, w) s = SplitToSequence<axis = 1>(h, size) y = SequenceAt(s, zero) }"""
    feed = {**X, "size": np.array(2)}
    report = requant.optimize(build(text), [feed]).report
    assert [layer.quantized for layer in report.layers] == [True]


@pytest.mark.parametrize("size", [2, 3])
def test_parts_of_one_size_are_values_at_an_opset_without_a_count_of_outputs(
    size: int, build: Build, compute: Compute, deviation: Deviation
) -> None:
    text = f"""(float[n, 4, 32] x) => (float[n, m, 32] y)
        <float[32, 32] w, int64 size = {{{size}}}, int64 zero = {{0}}> {{
        h = MatMul(x, w) s = SplitToSequence<axis = 1>(h, size) y = SequenceAt(s, zero) }}"""
    proto = build(text)
    model = load(proto)
    canonicalize(model)
    assert [node.op_type for node in model.graph] == ["MatMul", "Split"]
    assert model.graph.opset_imports[""] == 17
    assert deviation(compute(load(proto)), compute(model)) == 0


def test_a_model_may_do_without_standard_ops() -> None:
    ends = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["n", 4]) for name in "xy"]
    node = onnx.helper.make_node("Binarizer", ["x"], ["y"], domain="ai.onnx.ml", threshold=0.5)
    opsets = [onnx.helper.make_opsetid("ai.onnx.ml", 3)]
    proto = onnx.helper.make_model(onnx.helper.make_graph([node], "g", ends[:1], ends[1:]), opset_imports=opsets)
    assert requant.optimize(proto, [{"x": np.ones((2, 4), np.float32)}]).report.message.startswith(
        "nothing to quantize"
    )
