"""A constant factor behind a linear layer goes into its weight and bias, where nothing else reads the channels."""

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from requant.ir.canonical.canonicalize import canonicalize
from requant.ir.load import load
from tests.ir.canonical.folding import Compute, Deviation, remaining, require_declined, require_folded

Build: TypeAlias = Callable[[str], onnx.ModelProto]

ROWS = """(float[B,6,8] x) => (float[B,M,N,L] y) <float[8,8] w, float[8,8] u, float[8] b, float[8,24] all,
    float s = {0.35}, float[1] t = {-1.5}, float tiny = {0.00001}, float zero = {0},
    float[8] c = {1, -2, 0.5, 3, 0.25, 1, 2, 4}, float[2,1,1] h = {2, 3}, float[6,1] r = {1, 2, 3, 4, 5, 6},
    int64[4] split = {0, 0, 2, 4},
    int64[5] parts = {0, 0, 3, 2, 4}"""
IMAGE = """(float[B,4,7,7] x) => (float[B,M,N,L] y) <float[6,4,3,3] w, float[6] b, float[6,2,2,2] pair,
    float[4,6,2,2] back, float s = {0.35}, float[6,1,1] c = {1, -2, 0.5, 3, 0.25, 1}"""
Q = "q0 = MatMul(x, w)  q1 = Add(q0, b)  q2 = Reshape(q1, split)  q = Transpose<perm = [0, 2, 1, 3]>(q2)"
K = "k0 = MatMul(x, u)  k1 = Reshape(k0, split)  k = Transpose<perm = [0, 2, 3, 1]>(k1)"
HEADS = "MatMul Add Reshape Transpose"
KEYS = "MatMul Reshape Transpose"

FOLDED = {
    "on Q and K": (f"{ROWS}> {{ {Q}  {K}  qs = Mul(q, s)  ks = Mul(k, t)  y = MatMul(qs, ks) }}",
                   f"{HEADS} {KEYS} MatMul"),
    "on the scores": (f"{ROWS}> {{ {Q}  {K}  a = MatMul(q, k)  d = Div(a, s)  y = Softmax(d) }}",
                      f"{HEADS} {KEYS} MatMul Softmax"),
    "for each head": (f"{ROWS}> {{ {Q}  m = Mul(q, h)  y = Relu(m) }}", f"{HEADS} Relu"),
    "for each channel": (f"{ROWS}> {{ q0 = MatMul(x, w)  q1 = Add(q0, b)  m = Mul(q1, c)  y = Reshape(m, split) }}",
                         "MatMul Add Reshape"),
    "twice": (f"{ROWS}> {{ q0 = MatMul(x, w)  m = Mul(q0, s)  n = Mul(c, m)  y = Reshape(n, split) }}",
              "MatMul Reshape"),
    "on one part of three": (
        f"""{ROWS}> {{ a = MatMul(x, all)  p = Reshape(a, parts)  d = Transpose<perm = [2, 0, 3, 1, 4]>(p)
        q, k, v = Split<axis = 0>(d)  m = Mul(k, s)  n = Concat<axis = 1>(q, m, v)
        y = ReduceMax<axes = [0], keepdims = 0>(n) }}""",
        "MatMul Reshape Transpose Split Concat ReduceMax"),
    "behind a Gemm": ("""(float[B,8] x) => (float[B,8] y) <float[8,8] w, float[8] b, float s = {0.35}>
        { a = Gemm<alpha = 0.5, beta = 2.0, transB = 1>(x, w, b)  y = Mul(a, s) }""", "Gemm"),
    "behind a Conv": (f"""{IMAGE}> {{ a = Conv(x, w, b)  r = Transpose<perm = [0, 2, 3, 1]>(a)  m = Mul(r, s)
        y = Abs(m) }}""", "Conv Transpose Abs"),
    "behind groups": (f"{IMAGE}> {{ a = Conv<group = 2>(x, pair)  y = Mul(a, c) }}", "Conv"),
    "behind a ConvTranspose": (f"{IMAGE}> {{ a = ConvTranspose(x, back)  y = Div(a, s) }}", "ConvTranspose"),
}  # fmt: skip
KEPT = {
    "read by others": (f"{ROWS}> {{ {Q}  m = Mul(q, s)  y = Add(m, q) }}", f"{HEADS} Mul Add",
                       "'q1' has other consumers"),
    "a shared weight": (f"""{ROWS}> {{ a = MatMul(x, w)  m = Mul(a, s)  e = MatMul(m, w)  y = Reshape(e, split) }}""",
                        "MatMul Mul MatMul Reshape", "weight of 'a' has other consumers"),
    "too small": (f"{ROWS}> {{ {Q}  y = Mul(q, tiny) }}", f"{HEADS} Mul", "too small or too large"),
    "zero": (f"{ROWS}> {{ {Q}  y = Mul(q, zero) }}", f"{HEADS} Mul", "too small or too large"),
    "for each row": (f"{ROWS}> {{ {Q}  y = Mul(q, r) }}", f"{HEADS} Mul", ""),
    "a dividend": (f"{ROWS}> {{ {Q}  y = Div(s, q) }}", f"{HEADS} Div", ""),
    "a spelled-out Swish": (f"{ROWS}> {{ {Q}  m = Mul(q, s)  g = Sigmoid(m)  y = Mul(q, g) }}",
                            f"{HEADS} Mul Sigmoid Mul", "'q1' has other consumers"),
    "a value times itself": (f"""{ROWS}> {{ {Q}  k = Transpose<perm = [0, 1, 3, 2]>(q)  a = MatMul(q, k)
        y = Mul(a, s) }}""", f"{HEADS} Transpose MatMul Mul", "'q1' has other consumers"),
}  # fmt: skip

seeds = st.integers(0, 2**32 - 1)


@pytest.mark.parametrize(("text", "ops"), FOLDED.values(), ids=FOLDED)
def test_it_is_folded(text: str, ops: str, build: Build, compute: Compute, deviation: Deviation) -> None:
    require_folded(build(text), ops, compute, deviation)


@pytest.mark.parametrize(("text", "ops", "reason"), KEPT.values(), ids=KEPT)
def test_it_stays_elsewhere(
    text: str, ops: str, reason: str, build: Build, compute: Compute, caplog: pytest.LogCaptureFixture
) -> None:
    require_declined(build(text), ops, reason, compute, caplog)


def test_an_output_of_the_graph_stays(build: Build) -> None:
    text = ROWS.replace("L] y)", "L] y, float[B,6,8] q1)")
    model = load(build(f"{text}> {{ {Q}  y = Mul(q, s) }}"))
    canonicalize(model)
    assert remaining(model) == f"{HEADS} Mul"


def test_the_product_has_the_name_of_what_it_computes_now(build: Build) -> None:
    model = load(build(f"{ROWS}> {{ {Q}  y = Mul(q, s) }}"))
    canonicalize(model)
    assert [node.outputs[0].name for node in model.graph] == ["q0", "q1.scaled", "q2", "y"]


@given(seed=seeds)
def test_any_chain_computes_the_same(seed: int, build: Build, compute: Compute, deviation: Deviation) -> None:
    rng = np.random.default_rng(seed)
    steps = ["Mul({}, s)", "Mul(c, {})", "Div({}, t)", "Mul({}, r)", "Tanh({})", "Identity({})", "Reshape({}, flat)",
             "Transpose<perm = [0, 2, 1]>({})", "Add({}, b)"]  # fmt: skip
    body = ["v0 = MatMul(x, w)"]
    body += [f"v{n} = " + str(rng.choice(steps)).format(f"v{n - 1}") for n in range(1, 7)]
    body += ["e = MatMul(v6, u)", "y = Reshape(e, split)"]
    text = ROWS.replace("float[B,6,8] x", "float[B,8,8] x").replace("float[6,1] r = {", "float[8,1] r = {7, 8, ")
    model = load(build(f"{text}, int64[3] flat = {{0, 8, 8}}> {{ {'  '.join(body)} }}"))
    before = compute(model)
    canonicalize(model)
    assert deviation(before, compute(model)) < 1e-4
