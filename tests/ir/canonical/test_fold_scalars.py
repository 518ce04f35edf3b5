"""A scale and an offset by numbers behind an activation go into the layers that read it, where nothing else does."""

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

IMAGE = """(float[B,4,7,7] x) => (float[B,K,M,N] y) <float[6,4,3,3] w, float[4,1,3,3] each, float[8,2,1,1] pair,
    float[6] b, float[4,6,2,2] back, float s = {0.7}, float[1] t = {-1.3}, float huge = {100000}, float zero = {0},
    float[4,1,1] c"""
ROWS = """(float[B,12] x) => (float[B,M] y) <float[12,5] w, float[5,12] u, float[5] b, float s = {0.7},
    float[1] t = {-1.3}"""
SCALED = "h = HardSwish(x)  m = Mul(h, s)"
AFFINE = f"{SCALED}  a = Add(m, t)"
PADDED = "Conv<pads = [1, 1, 1, 1]>"

FOLDED = {
    "a scale": (f"{IMAGE}> {{ {SCALED}  y = Conv(m, w) }}", "HardSwish Conv"),
    "a scale from the left": (f"{IMAGE}> {{ h = Relu(x)  m = Mul(s, h)  y = Conv(m, w, b) }}", "Relu Conv"),
    "a divisor": (f"{IMAGE}> {{ h = Tanh(x)  m = Div(h, s)  y = Conv(m, w, b) }}", "Tanh Conv"),
    "an offset": (f"{IMAGE}> {{ h = HardSwish(x)  a = Add(h, t)  y = Conv(a, w, b) }}", "HardSwish Conv"),
    "both": (f"{IMAGE}> {{ {AFFINE}  y = Conv(a, w, b) }}", "HardSwish Conv"),
    "both, no bias": (f"{IMAGE}> {{ {AFFINE}  y = Conv(a, w) }}", "HardSwish Conv"),
    "an offset before a scale": (f"{IMAGE}> {{ h = Relu(x)  a = Sub(h, t)  m = Mul(a, s)  y = Conv(m, w) }}",
                                 "Relu Conv"),
    "1 - f(x)": (f"{IMAGE}> {{ h = Tanh(x)  a = Sub(s, h)  y = Conv(a, w) }}", "Tanh Conv"),
    "groups": (f"{IMAGE}> {{ {AFFINE}  y = Conv<group = 2>(a, pair) }}", "HardSwish Conv"),
    "depthwise": (f"{IMAGE}> {{ {AFFINE}  y = Conv<group = 4>(a, each) }}", "HardSwish Conv"),
    "two layers": (f"{IMAGE}> {{ {AFFINE}  c1 = Conv(a, w)  c2 = Conv(a, w, b)  y = Mul(c1, c2) }}",
                   "HardSwish Conv Conv Mul"),
    "zeros around the input": (f"{IMAGE}> {{ {AFFINE}  y = {PADDED}(a, w) }}", "HardSwish Add Conv"),
    "x - t before zeros": (f"{IMAGE}> {{ {SCALED}  a = Sub(m, t)  y = {PADDED}(a, w) }}", "HardSwish Sub Conv"),
    "zeros for one of two": (f"{IMAGE}> {{ {AFFINE}  c1 = Conv(a, w)  c2 = {PADDED}(a, w)"
                             "  r = ReduceMax<axes = [2, 3]>(c2)  y = Mul(c1, r) }",
                             "HardSwish Add Conv Conv ReduceMax Mul"),
    "a ConvTranspose": (f"{IMAGE}> {{ {AFFINE}  y = ConvTranspose(a, back) }}", "HardSwish Add ConvTranspose"),
    "a MatMul": (f"{ROWS}> {{ {AFFINE}  y = MatMul(a, w) }}", "HardSwish Add MatMul"),
    "a scale, and a factor of 1": (
        f"{IMAGE}, float one = {{1}}> {{ h = Relu(x)  m = Mul(h, s)  n = Mul(m, one)  y = Conv(n, w) }}", "Relu Conv"),
    "a Gemm": (f"{ROWS}> {{ {AFFINE}  y = Gemm<alpha = 0.5, beta = 2.0>(a, w, b) }}", "HardSwish Gemm"),
    "a transposed Gemm": (f"{ROWS}> {{ {AFFINE}  y = Gemm<transB = 1>(a, u) }}", "HardSwish Gemm"),
}  # fmt: skip
KEPT = {
    "another consumer": (f"{IMAGE}> {{ {SCALED}  c1 = Conv(m, w)  r = ReduceMax(m)  y = Mul(c1, r) }}",
                         "HardSwish Mul Conv ReduceMax Mul", ""),
    "an offset before zeros": (f"{IMAGE}> {{ h = HardSwish(x)  a = Add(h, t)  y = {PADDED}(a, w) }}",
                               "HardSwish Add Conv", "'y' pads its input with zeros, so that a shift cannot be folded"),
    "a ConvTranspose": (f"{IMAGE}> {{ h = HardSwish(x)  a = Add(h, t)  y = ConvTranspose(a, back) }}",
                        "HardSwish Add ConvTranspose", "sums over some of its taps"),
    "an offset before a MatMul": (f"{ROWS}> {{ h = HardSwish(x)  a = Add(h, t)  y = MatMul(a, w) }}",
                                  "HardSwish Add MatMul", "'y' has no input for a bias"),
    "a spelled-out Gelu": (f"{IMAGE}> {{ e = Erf(x)  p = Mul(x, e)  m = Mul(p, s)  y = Conv(m, w) }}",
                           "Erf Mul Mul Conv", ""),
    "a scale beyond half precision": (f"{IMAGE}> {{ h = Relu(x)  m = Mul(h, huge)  y = Conv(m, w) }}",
                                      "Relu Mul Conv", ""),
    "a factor for each channel": (f"{IMAGE}> {{ h = Relu(x)  m = Mul(h, c)  y = Conv(m, w) }}", "Relu Mul Conv", ""),
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
    text = IMAGE.replace("N] y)", "N] y, float[B,4,7,7] m)")
    model = load(build(f"{text}> {{ {SCALED}  y = Conv(m, w) }}"))
    canonicalize(model)
    assert remaining(model) == "HardSwish Mul Conv"


@given(seed=seeds)
def test_any_chain_computes_the_same(seed: int, build: Build, compute: Compute, deviation: Deviation) -> None:
    rng = np.random.default_rng(seed)
    steps = ["Mul({}, {})", "Mul({1}, {0})", "Div({}, {})", "Add({1}, {0})", "Sub({}, {})", "Sub({1}, {0})"]
    body, constants = [f"v0 = {rng.choice(['HardSwish', 'Relu', 'Sigmoid'])}(x)"], list[str]()
    for number in range(1, int(rng.integers(2, 6))):
        body.append(f"v{number} = " + str(rng.choice(steps)).format(f"v{number - 1}", f"k{number}"))
        constants.append(f"float k{number} = {{{rng.choice([0.25, -0.5, 1.5, 3.0])}}}")
    layers = [str(rng.choice(["Conv", PADDED])) for _ in range(2)]
    body += [f"l{index} = {layer}(v{len(constants)}, w, b)" for index, layer in enumerate(layers)]
    body += [f"r{index} = ReduceMean<axes = [2, 3]>(l{index})" for index in range(2)] + ["y = Mul(r0, r1)"]
    model = load(build(f"{IMAGE}, {', '.join(constants)}> {{ {'  '.join(body)} }}"))
    before = compute(model)
    canonicalize(model)
    assert deviation(before, compute(model)) < 1e-4
    assert sum(node.op_type in ("Add", "Div", "Mul", "Sub") for node in model.graph) <= len(constants) + 1
