"""Models that are float32 inside, with the inputs, outputs and tables of their file, or half precision throughout."""

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from requant.ir.canonical.canonicalize import canonicalize
from requant.ir.float_types import remember_types, to_float32
from requant.ir.load import load
from requant.passes import ConvertPrecision, RestoreTypes
from requant.passes.annotations import precision_records
from requant.runtime.session import runner

Build: TypeAlias = Callable[[str], onnx.ModelProto]

EMBEDDED = """(int64[N,5] i, float16[N,5,16] x) => (float16[N,5,16] y) <float16[9,16] t, float16[16,16] w> {
    r = Gather(t, i)
    s = Add(r, x)
    m = MatMul(s, w)
    c = Cast <to = 1> (m)
    p = Softmax(c)
    y = Cast <to = 10> (p)
}"""

INSIDE = """
r: float16 = Gather(t, i)
x.float32: float = Cast(x)
r.float32: float = Cast(r)
s: float = Add(r.float32, x.float32)
m: float = MatMul(s, w)
y.float32: float = Softmax(m)
y: float16 = Cast(y.float32)
"""

AROUND = """
r: float16 = Gather(t, i)
s: float16 = Add(r, x)
m: float16 = MatMul(s, w)
m.float32: float = Cast(m)
y.float32: float = Softmax(m.float32)
y: float16 = Cast(y.float32)
"""


def canonical(text: str, build: Build) -> ir.Model:
    model = load(build(text))
    types = to_float32(model)
    canonicalize(model)
    remember_types(model.graph, types)
    return model


def listing(model: ir.Model) -> list[str]:
    """Return the nodes as text, each with the type of what it makes."""
    return [
        f"{value.name}: {str(value.dtype).lower()} = {node.op_type}"
        f"({', '.join(operand.name or '' for operand in node.inputs if operand is not None)})"
        for node in model.graph
        for value in node.outputs
    ]


def test_a_model_is_float32_between_the_inputs_and_outputs_of_its_file(build: Build) -> None:
    model = canonical(EMBEDDED, build)
    assert RestoreTypes()(model).modified
    assert sorted(listing(model)) == sorted(INSIDE.strip().splitlines())
    onnx.checker.check_model(ir.to_proto(model), full_check=True)
    stored = {name: value.dtype for name, value in model.graph.initializers.items()}
    assert stored == {"t": ir.DataType.FLOAT16, "w": ir.DataType.FLOAT}, "the table has half the bytes"


def test_a_model_has_the_types_of_its_file_again(build: Build) -> None:
    model = canonical(EMBEDDED, build)
    ConvertPrecision()(model)
    assert sorted(listing(model)) == sorted(AROUND.strip().splitlines())
    assert [(record.name, record.reason) for record in precision_records(model)] == [
        ("p", "it is in float32 in the file")
    ]
    for tensor in build(EMBEDDED).graph.initializer:
        restored = model.graph.initializers[tensor.name].const_value
        assert restored is not None
        np.testing.assert_array_equal(restored.numpy(), onnx.numpy_helper.to_array(tensor))


@pytest.mark.parametrize("kind", ["float16", "double"])
def test_both_compute_what_the_file_does(kind: str, build: Build) -> None:
    text = EMBEDDED.replace("float16", kind).replace("= 10", "= 10" if kind == "float16" else "= 11")
    rng, original = np.random.default_rng(0), load(build(text))
    feed = {"i": rng.integers(0, 9, (2, 5)), "x": rng.normal(size=(2, 5, 16))}
    (expected,) = runner(original, threads=1)(feed)
    for restore in (RestoreTypes(), *([ConvertPrecision()] if kind == "float16" else [])):
        model = canonical(text, build)
        restore(model)
        (actual,) = runner(model, threads=1)(feed)
        assert actual.dtype == expected.dtype
        np.testing.assert_allclose(actual.astype(np.float64), expected.astype(np.float64), atol=5e-3)


def test_reductions_in_half_precision_stay_so_where_the_file_has_them(build: Build) -> None:
    """In a file of float32 they would be left in float32, since their sums may overflow."""
    body = "{ m = MatMul(x, w) s = ReduceSum <keepdims = 1> (m) y = Div(m, s) }"
    wide = canonical(f"(float[2,16] x) => (float[2,16] y) <float[16,16] w> {body}", build)
    half = canonical(f"(float16[2,16] x) => (float16[2,16] y) <float16[16,16] w> {body}", build)
    for model in (wide, half):
        ConvertPrecision()(model)
    assert [record.op_type for record in precision_records(wide)] == ["ReduceSum", "Div"]
    assert precision_records(half) == ()
    assert {value.dtype for node in half.graph for value in node.outputs} == {ir.DataType.FLOAT16}


def test_a_model_in_float32_is_not_changed(build: Build) -> None:
    model = canonical("(float[2,16] x) => (float[2,16] y) <float[16,16] w> { y = MatMul(x, w) }", build)
    assert not RestoreTypes()(model).modified
