"""Element-wise ops behind a Conv move before the Transposes, which then cancel; elsewhere nothing moves."""

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from numpy.typing import NDArray

from requant.ir.canonical.canonicalize import canonicalize
from requant.ir.canonical.sink_transposes import SinkTransposes
from requant.ir.load import load

Arrays: TypeAlias = list[NDArray[np.generic]]
Compute: TypeAlias = Callable[[ir.Model], Arrays]
Deviation: TypeAlias = Callable[[Arrays, Arrays], float]

LAST, FIRST = "Transpose<perm = [0, 2, 3, 1]>", "Transpose<perm = [0, 3, 1, 2]>"
CONV = f"f = {FIRST}(x)  a = Conv(f, w)  b = {LAST}(a)"

MOVED = {
    "BatchNorm spelled out": (f"{CONV}  c = Sub(b, m)  d = Mul(c, g)  y = Add(h, d)", "Transpose Conv Transpose"),
    "a residual block": (
        f"{CONV}  r = Relu(b)  s = {FIRST}(r)  c = Conv(s, v)  d = {LAST}(c)  e = Add(d, g)  i = Add(r, e)  "
        "y = Relu(i)",
        "Transpose Conv Relu Conv Add Relu Transpose",
    ),
    "a gate": (f"{CONV}  s = Sigmoid(b)  y = Mul(b, s)", "Transpose Conv Sigmoid Mul Transpose"),
    "bounds": (f"{CONV}  y = Clip(b, zero, one)", "Transpose Conv Clip Transpose"),
    "a plane": (f"{CONV}  y = Mul(b, plane)", "Transpose Conv Mul Transpose"),
}

KEPT = {
    "other data": f"{CONV}  c = Slice(x, two, six, axes)  y = Add(b, c)",
    "another order": f"{CONV}  c = Transpose<perm = [0, 3, 2, 1]>(a)  y = Mul(b, c)",
    "another consumer": f"{CONV}  r = Relu(b)  q = Softmax<axis = 3>(b)  y = Mul(r, q)",
    "a sum over channels": f"{CONV}  y = Softmax<axis = 3>(b)",
}

TEXT = """(float[B, 6, 6, 4] x) => (float[B, H, W, C] y) <
    float[4, 4, 3, 3] w, float[4, 4, 1, 1] v, float[4] g, float[4] h, float[1, 1, 4] m, float[4, 4, 1] plane,
    float[6] o, float zero = {0.0}, float one = {1.0}, int64[2] two = {1, 1}, int64[2] six = {5, 5},
    int64[2] axes = {1, 2}> """


def ops(model: ir.Model) -> str:
    return " ".join(node.op_type for node in model.graph)


@pytest.mark.parametrize("name", MOVED)
def test_it_comes_before_the_transposes(
    name: str, build: Callable[[str], onnx.ModelProto], compute: Compute, deviation: Deviation
) -> None:
    body, expected = MOVED[name]
    model = load(build(f"{TEXT} {{ {body} }}"))
    before = compute(model)
    canonicalize(model)
    assert ops(model) == expected
    assert deviation(before, compute(model)) < 1e-5
    assert [value.name for value in model.graph.outputs] == ["y"]
    assert not SinkTransposes()(model).modified


@pytest.mark.parametrize("name", KEPT)
def test_nothing_moves_elsewhere(
    name: str, build: Callable[[str], onnx.ModelProto], compute: Compute, deviation: Deviation
) -> None:
    model = load(build(f"{TEXT} {{ {KEPT[name]} }}"))
    before, original = compute(model), ops(model)
    SinkTransposes()(model)
    assert ops(model) == original
    assert deviation(before, compute(model)) < 1e-6


def test_transposes_that_cancel_go_and_others_stay_where_they_are(build: Callable[[str], onnx.ModelProto]) -> None:
    model = load(build(f"{TEXT} {{ f = {FIRST}(x)  b = {LAST}(f)  c = {FIRST}(b)  y = Add(c, o) }}"))
    assert SinkTransposes()(model).modified
    assert ops(model) == "Transpose Add"
