"""Golden tests: a small graph before and after each lowering or rewrite, as text."""

from collections.abc import Callable, Sequence

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from requant.calib.activations import measure_activations
from requant.calib.collect import collect
from requant.ir.canonical.canonicalize import canonicalize
from requant.ir.formats import INT8, INT8_DYNAMIC, INT8_WEIGHT, Format
from requant.ir.load import load
from requant.passes import (
    ConvertPrecision,
    InsertQDQ,
    PlanQuantizers,
    SearchTransforms,
    SelectLayers,
)
from requant.passes.solvers import SmoothQuant
from tests.passes.optimized import listing

MATMUL = "(float[8,32] x) => (float[8,32] y) { m = MatMul(x, w) y = Add(m, b) }"
GEMM = "(float[8,32] x) => (float[8,32] y) { y = Gemm<transB = 1, beta = 2.0>(x, w, b) }"
NORM = "(float[8,32] x) => (float[8,32] y) { a = Add(x, x) n = LayerNormalization(a, b) y = MatMul(n, w) }"
TANH = "(float[8,32] x) => (float[8,32] y) { t = Tanh(x) y = MatMul(t, w) }"
CONVS = "(float[1,32,8,8] x) => (float[1,32,8,8] y) { c = Conv(x, k) r = Relu(c) d = Conv(r, k) y = Add(d, r) }"
KEPT = """(float[1,32,8,8] x) => (float[1,32,1,1] y) {
    c = Conv(x, k) [kept] d = Conv(c, k) e = Conv(d, k) y = GlobalAveragePool(e) }"""
WEIGHTS = {"w": (32, 32), "b": (32,), "k": (32, 32, 1, 1)}


def source(text: str) -> onnx.ModelProto:
    """Return the graph in ``text``, with random weights of which three channels are large."""
    proto = onnx.parser.parse_model(f'<ir_version: 10, opset_import: ["": 23]> g {text}')
    names, rng = {name for node in proto.graph.node for name in node.input}, np.random.default_rng(0)
    for name in sorted(names & WEIGHTS.keys()):
        array = rng.normal(size=WEIGHTS[name]).astype(np.float32)
        array[:3] *= 20
        proto.graph.initializer.append(onnx.numpy_helper.from_array(array, name))
    return proto


def calibrated(text: str) -> ir.Model:
    model, rng = load(source(text)), np.random.default_rng(1)
    canonicalize(model, 23)
    shapes = {value.name or "": value.shape.numpy() for value in model.graph.inputs if value.shape is not None}
    feeds = [{name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}] * 3
    collect(model, feeds)
    measure_activations(model, feeds)
    return model


def lowered(
    text: str, target: str, fmt: Format = INT8, keep: Sequence[str] = (), body: ir.DataType = ir.DataType.FLOAT
) -> ir.Model:
    model = calibrated(text)
    SelectLayers(tuple(keep), target, (fmt,))(model)
    PlanQuantizers((fmt,))(model)
    InsertQDQ(target, body=body)(model)
    return model


def half(text: str) -> ir.Model:
    model = lowered(text, "tensorrt")
    ConvertPrecision()(model)
    return model


def transformed(text: str) -> ir.Model:
    model = calibrated(text)
    SearchTransforms((SmoothQuant(0.8, shift=True),))(model)
    return model


CASES: dict[str, tuple[Callable[[], ir.Model], str]] = {
    "Q/DQ around a product": (
        lambda: lowered(MATMUL, "tensorrt"),
        """
        x.codes = QuantizeLinear(x, x.scale, x.zero_point)
        x.dequantized = DequantizeLinear(x.codes, x.scale, x.zero_point)
        w.dequantized = DequantizeLinear(w.codes, w.scale, w.zero_point)
        m = MatMul(x.dequantized, w.dequantized)
        y = Add(m, b)
        """,
    ),
    "an integer product": (
        lambda: lowered(MATMUL, "cpu"),
        """
        x.codes = QuantizeLinear(x, x.scale, x.zero_point)
        x.step.out = DequantizeLinear(x.one, x.scale)
        m.multiply.out = MatMulInteger(x.codes, w.codes, x.zero_point)
        m.cast.out = Cast(m.multiply.out)
        m.scale.out = Mul(x.step.out, w.scale)
        m = Mul(m.cast.out, m.scale.out)
        y = Add(m, b)
        """,
    ),
    "a dynamic integer product": (
        lambda: lowered(MATMUL, "cpu", INT8_DYNAMIC),
        """
        x.dynamic.codes, x.dynamic.scale, x.dynamic.zero_point = DynamicQuantizeLinear(x)
        m.multiply.out = MatMulInteger(x.dynamic.codes, w.codes, x.dynamic.zero_point)
        m.cast.out = Cast(m.multiply.out)
        m.scale.out = Mul(x.dynamic.scale, w.scale)
        m = Mul(m.cast.out, m.scale.out)
        y = Add(m, b)
        """,
    ),
    "weight-only": (
        lambda: lowered(MATMUL, "cpu", INT8_WEIGHT),
        """
        w.dequantized = DequantizeLinear(w.codes, w.scale, w.zero_point)
        m = MatMul(x, w.dequantized)
        y = Add(m, b)
        """,
    ),
    "a residual before a norm": (
        lambda: lowered(NORM, "cpu"),
        """
        a = Sum(x, x)
        n = LayerNormalization(a, b)
        n.codes = QuantizeLinear(n, n.scale, n.zero_point)
        n.step.out = DequantizeLinear(n.one, n.scale)
        y.multiply.out = MatMulInteger(n.codes, w.codes, n.zero_point)
        y.cast.out = Cast(y.multiply.out)
        y.scale.out = Mul(n.step.out, w.scale)
        y = Mul(y.cast.out, y.scale.out)
        """,
    ),
    "Q/DQ around Convs, with a residual": (
        lambda: lowered(CONVS, "tensorrt"),
        """
        x.codes = QuantizeLinear(x, x.scale, x.zero_point)
        x.dequantized = DequantizeLinear(x.codes, x.scale, x.zero_point)
        k.dequantized = DequantizeLinear(k.codes, k.scale, k.zero_point)
        c = Conv(x.dequantized, k.dequantized)
        r = Relu(c)
        r.codes = QuantizeLinear(r, r.scale, r.zero_point)
        r.dequantized = DequantizeLinear(r.codes, r.scale, r.zero_point)
        d = Conv(r.dequantized, k.dequantized)
        y = Add(d, r.dequantized)
        """,
    ),
    "Q/DQ behind Convs": (
        lambda: lowered(CONVS, "cpu"),
        """
        x.codes = QuantizeLinear(x, x.scale, x.zero_point)
        x.dequantized = DequantizeLinear(x.codes, x.scale, x.zero_point)
        k.dequantized = DequantizeLinear(k.codes, k.scale, k.zero_point)
        c = Conv(x.dequantized, k.dequantized)
        r = Relu(c)
        r.codes = QuantizeLinear(r, r.scale, r.zero_point)
        r.dequantized = DequantizeLinear(r.codes, r.scale, r.zero_point)
        d = Conv(r.dequantized, k.dequantized)
        d.codes = QuantizeLinear(d, d.scale, d.zero_point)
        d.dequantized = DequantizeLinear(d.codes, d.scale, d.zero_point)
        y.float = Add(d.dequantized, r.dequantized)
        y.codes = QuantizeLinear(y.float, y.scale, y.zero_point)
        y = DequantizeLinear(y.codes, y.scale, y.zero_point)
        """,
    ),
    "a Conv in float between int8": (
        lambda: lowered(KEPT, "cpu", keep=("kept",)),
        """
        x.codes = QuantizeLinear(x, x.scale, x.zero_point)
        x.dequantized = DequantizeLinear(x.codes, x.scale, x.zero_point)
        k.dequantized = DequantizeLinear(k.codes, k.scale, k.zero_point)
        c = Conv(x.dequantized, k.dequantized)
        c.codes = QuantizeLinear(c, c.scale, c.zero_point)
        c.dequantized = DequantizeLinear(c.codes, c.scale, c.zero_point)
        c.dequantized.for.d.out = Clip(c.dequantized, c.dequantized.for.d.bound, c.dequantized.for.d.bound.1)
        d = Conv(c.dequantized.for.d.out, k)
        d.codes = QuantizeLinear(d, d.scale, d.zero_point)
        d.dequantized = DequantizeLinear(d.codes, d.scale, d.zero_point)
        e = Conv(d.dequantized, k.dequantized)
        e.codes = QuantizeLinear(e, e.scale, e.zero_point)
        e.dequantized = DequantizeLinear(e.codes, e.scale, e.zero_point)
        y.float = GlobalAveragePool(e.dequantized)
        y.codes = QuantizeLinear(y.float, y.scale, y.zero_point)
        y = DequantizeLinear(y.codes, y.scale, y.zero_point)
        """,
    ),
    "half precision": (
        lambda: half(MATMUL),
        """
        x.float16 = Cast(x)
        x.codes = QuantizeLinear(x.float16, x.scale, x.zero_point)
        x.dequantized = DequantizeLinear(x.codes, x.scale.float32, x.zero_point)
        w.dequantized = DequantizeLinear(w.codes, w.scale, w.zero_point)
        m = MatMul(x.dequantized, w.dequantized)
        y.float16 = Add(m, b)
        y = Cast(y.float16)
        """,
    ),
    "a common scale": (
        lambda: lowered(MATMUL, "tensorrt-rtx", body=ir.DataType.FLOAT16),
        """
        x.codes = QuantizeLinear(x, x.scale, x.zero_point)
        x.dequantized = DequantizeLinear(x.codes, x.scale, x.zero_point)
        w.dequantized = DequantizeLinear(w.codes, w.common_scale, w.zero)
        w.rest.in = MatMul(x.dequantized, w.dequantized)
        m = Mul(w.rest.in, w.rest)
        y = Add(m, b)
        """,
    ),
    "a common scale of a Gemm": (
        lambda: lowered(GEMM, "tensorrt-rtx", body=ir.DataType.FLOAT16),
        """
        x.codes = QuantizeLinear(x, x.scale, x.zero_point)
        x.dequantized = DequantizeLinear(x.codes, x.scale, x.zero_point)
        w.dequantized = DequantizeLinear(w.codes, w.common_scale, w.zero)
        w.rest.in = Gemm(x.dequantized, w.dequantized)
        b.behind.in = Mul(w.rest.in, w.rest)
        y = Add(b.behind.in, b.behind)
        """,
    ),
    "a transform in a norm": (
        lambda: transformed(NORM),
        """
        a = Add(x, x)
        n = LayerNormalization(a, n.scale)
        y = MatMul(n, w)
        """,
    ),
    "an inserted transform": (
        lambda: transformed(TANH),
        """
        t = Tanh(x)
        t.rebase.mul.out = Mul(t, t.rebase.mul)
        t.rebase.add.out = Add(t.rebase.mul.out, t.rebase.add)
        y.bias.in = MatMul(t.rebase.add.out, w)
        y = Add(y.bias.in, y.bias)
        """,
    ),
}


@pytest.mark.usefixtures("integers_are_free")
@pytest.mark.parametrize("name", CASES)
def test_the_graph_after_the_pass_is_as_written(name: str) -> None:
    make, expected = CASES[name]
    assert listing(make()) == [line.strip() for line in expected.strip().splitlines()]
