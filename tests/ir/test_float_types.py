"""Models in half precision or float64 as float32 models: what is converted, and that it computes the same."""

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from numpy.typing import NDArray

from requant.ir.float_types import BFLOAT16, DOUBLE, HALVES, file_types, holds, in_float32, to_float32
from requant.ir.load import load
from requant.runtime.session import runner

Build: TypeAlias = Callable[[str], onnx.ModelProto]

KINDS = {"float16": ir.DataType.FLOAT16, "bfloat16": ir.DataType.BFLOAT16, "double": ir.DataType.DOUBLE}

BLOCK = """(float16[N,5,16] x) => (float16[N,5,16] y)
    <float16[16] g, float16[16] b, float16[16,16] w, float16[16,16] v> {
    wide = Cast <to = 1> (x)
    mean = ReduceMean <axes = [-1]> (wide)
    centred = Sub(wide, mean)
    two = Constant <value_float = 2.0> ()
    squares = Pow(centred, two)
    variance = ReduceMean <axes = [-1]> (squares)
    deviation = Sqrt(variance)
    normal = Div(centred, deviation)
    half = Cast <to = 10> (normal)
    scaled = Mul(half, g)
    shifted = Add(scaled, b)
    m = MatMul(shifted, w)
    scores = Cast <to = 1> (m)
    weights = Softmax <axis = -1> (scores)
    p = Cast <to = 10> (weights)
    n = MatMul(p, v)
    y = Add(n, x)
}"""

BRANCHES = """(float16[2,16] x, bool c) => (float16[2,16] y) <float16[16,16] w> {
    m = MatMul(x, w)
    z = If (c) <
        then_branch = g () => (float16[2,16] t) {
            one = Constant <value = float16[1] {15360}> ()
            t = Add(m, one)
        },
        else_branch = g () => (float16[2,16] e) { e = Neg(m) }
    >
    like = RandomUniformLike <dtype = 10, high = 0.0, low = 0.0> (z)
    y = Add(z, like)
}"""


def kinds(text: str, kind: str) -> str:
    return text.replace("float16", kind).replace("= 10", f"= {int(KINDS[kind])}")


def dtypes(model: ir.Model) -> set[ir.DataType]:
    values = (value for graph in model.graphs() for node in graph for value in (*node.inputs, *node.outputs) if value)
    return {value.dtype for value in values if value.dtype is not None}


def scaled(proto: onnx.ModelProto) -> onnx.ModelProto:
    """Give matrices the size that layers have, so that sums stay of the order of 1."""
    for tensor in proto.graph.initializer:
        if len(tensor.dims) == 2:
            tensor.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(tensor) / 4, tensor.name))
    return proto


@pytest.mark.parametrize("kind", KINDS)
def test_a_model_becomes_float32_and_its_types_are_remembered(kind: str, build: Build) -> None:
    model = load(build(kinds(BLOCK, kind)))
    types = to_float32(model)
    assert types is not None
    assert dtypes(model) == {ir.DataType.FLOAT}
    assert {node.attributes["to"].as_int() for node in model.graph if node.op_type == "Cast"} == {1}
    onnx.checker.check_model(ir.to_proto(model), full_check=True)
    assert types.dtype == KINDS[kind]
    assert types.interface == {"x": KINDS[kind], "y": KINDS[kind]}
    assert types.computed["m"] == ("MatMul", KINDS[kind])
    assert types.computed["weights"] == ("Softmax", ir.DataType.FLOAT)
    assert file_types(model.clone().graph) == types, "a copy of the model has them too"


def test_weights_in_half_precision_are_exact_and_stay_so_there_and_back(build: Build) -> None:
    proto = build(BLOCK)
    model = load(proto)
    to_float32(model)
    for tensor in proto.graph.initializer:
        stored, wide = onnx.numpy_helper.to_array(tensor), model.graph.initializers[tensor.name].const_value
        assert wide is not None
        np.testing.assert_array_equal(wide.numpy(), stored.astype(np.float32))
        np.testing.assert_array_equal(wide.numpy().astype(stored.dtype), stored)


@pytest.mark.parametrize("text", [BLOCK, BRANCHES])
@pytest.mark.parametrize(("kind", "tolerance"), [("float16", 1e-2), ("double", 1e-5)])
def test_it_computes_the_same_but_for_rounding(text: str, kind: str, tolerance: float, build: Build) -> None:
    text = kinds(text, kind).replace("{15360}", "{15360}" if kind == "float16" else "{1.0}")
    model, rng = load(scaled(build(text))), np.random.default_rng(0)
    x: NDArray[np.generic] = rng.normal(size=(2, 5, 16) if text.startswith(f"({kind}[N") else (2, 16))
    feed = {"x": x.astype(KINDS[kind].numpy())} | ({"c": np.array(True)} if "bool c" in text else {})
    (expected,) = runner(model, threads=1)(feed)
    to_float32(model)
    (actual,) = runner(model, threads=1)(feed)
    assert actual.dtype == np.float32
    np.testing.assert_allclose(
        actual.astype(np.float64), expected.astype(np.float64), atol=tolerance * float(np.abs(expected).max())
    )


def test_bfloat16_runs_on_a_cpu_as_float32(build: Build) -> None:
    model, rng = load(scaled(build(kinds(BLOCK, "bfloat16")))), np.random.default_rng(0)
    feed = {"x": rng.normal(size=(2, 5, 16)).astype(ir.DataType.BFLOAT16.numpy())}
    (expected,) = runner(in_float32(model, BFLOAT16), threads=1)(feed)
    (actual,) = runner(model, threads=1)(feed)
    np.testing.assert_array_equal(actual, expected)
    assert dtypes(model) & BFLOAT16, "the model is not modified"


def test_float64_runs_as_float32_only_where_an_op_has_no_kernel(build: Build) -> None:
    """ONNX Runtime's CPU multiplies matrices in float64, and has no Conv."""
    product = load(build("(double[2,4] x) => (double[2,4] y) <double[4,4] w> { y = MatMul(x, w) }"))
    conv = load(build("(double[1,1,4,4] x) => (double[1,1,4,4] y) <double[1,1,1,1] w> { y = Conv(x, w) }"))
    assert runner(product)({"x": np.ones((2, 4), np.float32)})[0].dtype == np.float64
    assert runner(conv)({"x": np.ones((1, 1, 4, 4))})[0].dtype == np.float32


@pytest.mark.parametrize(
    "text",
    [
        "(float[2,4] x) => (float[2,4] y) <float[4,4] w> { y = MatMul(x, w) }",
        "(float16[2,4] x) => (float16[2,4] y) { y = Relu(x) }",
        "(int64[2] i) => (float[2,4] y) <float16[9,4] t, float[4,4] w> {"
        " r = Gather(t, i) c = Cast <to = 1> (r) y = MatMul(c, w) }",
        "(float[2,4] x) => (float[2,4] y) <float16[4,4] w> { c = Cast <to = 1> (w) y = MatMul(x, c) }",
        "(float[2,4] x, double[2,4] z) => (float[2,4] y, double[2,4] u) <float[4,4] w, double[4,4] v> {"
        " y = MatMul(x, w) u = MatMul(z, v) }",
    ],
    ids=["float32", "no layer", "a table in halves", "a weight stored in halves", "float64 beside float32"],
)
def test_a_model_whose_layers_are_in_float32_stays_as_it_is(text: str, build: Build) -> None:
    model = load(build(text))
    before = ir.to_proto(model).SerializeToString()
    assert to_float32(model) is None
    assert ir.to_proto(model).SerializeToString() == before
    assert file_types(model.graph) is None


def test_layers_in_functions_and_sequences_are_converted(build: Build) -> None:
    proto = build("(float16[2,4] x) => (float16[2,4] y) <float16[4,4] w> { y = MatMul(x, w) }")
    proto.graph.node[0].CopyFrom(onnx.helper.make_node("Layer", ["x", "w"], ["y"], domain="local"))
    proto.opset_import.append(onnx.helper.make_opsetid("local", 1))
    text = """<domain: "local", opset_import: ["": 17]> Layer (x, w) => (y) {
        m = MatMul(x, w) s = SequenceConstruct(m) z = Constant <value = int64 {0}> ()
        e = SequenceAt(s, z) c = Cast <to = 10> (e) y = CastLike(c, x) }"""
    proto.functions.append(onnx.parser.parse_function(text))
    model = load(proto)
    assert to_float32(model) is not None
    assert not holds(model, HALVES)
    assert runner(model)({"x": np.ones((2, 4), np.float16)})[0].dtype == np.float32


def test_numbers_that_float32_has_not_stay_finite_and_nonzero(build: Build) -> None:
    proto = build("(double[2,4] x) => (double[2,4] y) <double[4,4] w, double[4] b> { m = MatMul(x, w) y = Add(m, b) }")
    bias = np.array([1e300, -1e300, 1e-300, np.inf])
    proto.graph.initializer[1].CopyFrom(onnx.numpy_helper.from_array(bias, "b"))
    value = in_float32(load(proto), DOUBLE).graph.initializers["b"].const_value
    assert value is not None
    limits = np.finfo(np.float32)
    np.testing.assert_array_equal(value.numpy(), np.array([limits.max, limits.min, limits.tiny, np.inf], np.float32))
