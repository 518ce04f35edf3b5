"""HardSwish and HardSigmoid in all spellings become one node; what is not quite one keeps its own."""

import logging
from collections.abc import Callable
from typing import TypeAlias

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from requant.ir.canonical.canonicalize import canonicalize
from requant.ir.load import load
from requant.runtime.session import runner

Arrays: TypeAlias = list[NDArray[np.generic]]
Build: TypeAlias = Callable[[str], onnx.ModelProto]
Compute: TypeAlias = Callable[[ir.Model], Arrays]
Deviation: TypeAlias = Callable[[Arrays, Arrays], float]

IMAGE = """(float[B,4,6,6] x) => (float[B,4,6,6] y) <float zero = {0}, float half = {0.5}, float one = {1},
    float two = {2}, float[1] three = {3}, float five = {5}, float six = {6}, float[1] sixth = {0.16666667},
    float[1,1,1,1] deep = {3}, float[4,1,1] each = {3, 3, 3, 2}"""
SIGMOID = "HardSigmoid<alpha = 0.16666667, beta = 0.5>"
SUMS = {"x + 3": "a = Add(x, three)", "3 + x": "a = Add(three, x)", "of the rank of x": "a = Add(x, deep)"}
BOUNDS = {
    "Clip": "c = Clip(a, zero, six)",
    "Relu6": "r = Relu(a)  c = Min(r, six)",
    "Relu, Clip": "r = Relu(a)  c = Clip(r, , six)",
    "Max, Min": "r = Max(zero, a)  c = Min(six, r)",
    "Min, Max": "r = Min(a, six)  c = Max(r, zero)",
}
PRODUCTS = {
    "(x c) / 6": "p = Mul(x, c)  y = Div(p, six)",
    "(c x) / 6": "p = Mul(c, x)  y = Div(p, six)",
    "(x c) 1/6": "p = Mul(x, c)  y = Mul(p, sixth)",
    "1/6 (x c)": "p = Mul(x, c)  y = Mul(sixth, p)",
    "x (c / 6)": "p = Div(c, six)  y = Mul(x, p)",
    "(1/6 c) x": "p = Mul(sixth, c)  y = Mul(p, x)",
    "(x / 6) c": "p = Div(x, six)  y = Mul(p, c)",
}
NATIVE = {
    "x HardSigmoid": f"h = {SIGMOID}(x)  y = Mul(x, h)",
    "HardSigmoid x": f"h = {SIGMOID}(x)  y = Mul(h, x)",
    "default beta": "h = HardSigmoid<alpha = 0.16666667>(x)  y = Mul(h, x)",
    "x / 6 + 1/2": "d = Div(x, six)  a = Add(d, half)  h = Clip(a, zero, one)  y = Mul(x, h)",
    "(x + 3) / 6": "a = Add(x, three)  d = Div(a, six)  h = Clip(d, zero, one)  y = Mul(x, h)",
}
HARD_SWISHES = NATIVE | {
    f"{total}, {bounds}, {product}": f"{SUMS[total]}  {BOUNDS[bounds]}  {PRODUCTS[product]}"
    for total in SUMS
    for bounds in BOUNDS
    for product in PRODUCTS
}

HARD_SIGMOIDS = {
    "Clip(x + 3, 0, 6) / 6": ("a = Add(x, three)  c = Clip(a, zero, six)  y = Div(c, six)", 1 / 6, 0.5),
    "Clip(2 x + 1, 0, 1)": ("m = Mul(two, x)  a = Add(m, one)  y = Clip(a, zero, one)", 2.0, 1.0),
    "Clip(x - -1/2, 0, 1)": ("n = Neg(half)  a = Sub(x, n)  y = Clip(a, zero, one)", 1.0, 0.5),
    "Clip(x / 5, 0, 1)": ("d = Div(x, five)  y = Clip(d, zero, one)", 0.2, 0.0),
    "an offset before HardSigmoid": (f"a = Add(x, one)  y = {SIGMOID}(a)", 1 / 6, 2 / 3),
}

SPELLED_OUT = "a = Add(x, three)  c = Clip(a, zero, six)  p = Mul(x, c)  y = Div(p, six)"
NO_SIGMOID = "the gate is no HardSigmoid of 'x' with alpha 1/6 and beta 1/2"
KEPT = {
    "another divisor": (SPELLED_OUT.replace("Div(p, six)", "Div(p, five)"), "Add Clip Mul Div", ""),
    "another offset": (SPELLED_OUT.replace("three", "two"), "Add Clip Mul Div", NO_SIGMOID),
    "another bound": (SPELLED_OUT.replace("a, zero, six", "a, zero, five"), "Add Clip Mul Div", NO_SIGMOID),
    "another lower bound": (SPELLED_OUT.replace("a, zero, six", "a, one, six"), "Add Clip Mul Div", ""),
    "no upper bound": (SPELLED_OUT.replace("a, zero, six", "a, zero"), "Add Clip Mul Div", ""),
    "an offset for each channel": (SPELLED_OUT.replace("three", "each"), "Add Clip Mul Div", ""),
    "another alpha": ("h = HardSigmoid(x)  y = Mul(x, h)", "HardSigmoid Mul", NO_SIGMOID),
    "another factor": (SPELLED_OUT.replace("Mul(x, c)", "Mul(t, c)").replace("a =", "t = Tanh(x)  a ="),
                       "Tanh Add Clip Mul Div", ""),
    "a product without a division": (SPELLED_OUT.replace("Div(p, six)", "Neg(p)"), "Add Clip Mul Neg", ""),
    "a clip that is read": (SPELLED_OUT.replace("y =", "q =") + "  y = Sub(q, c)", "Add Clip Mul Div Sub",
                            "'c' has other consumers"),
    "a sum that is read": (SPELLED_OUT.replace("y =", "q =") + "  y = Sub(q, a)", "Add Clip Mul Div Sub", ""),
    "a product that is read": (SPELLED_OUT.replace("y =", "q =") + "  y = Sub(q, p)", "Add Clip Mul Div Sub", ""),
    "a gate that is read": ("h = HardSigmoid<alpha = 0.16666667>(x)  p = Mul(x, h)  y = Sub(p, h)",
                            "HardSigmoid Mul Sub", "'h' has other consumers"),
    "a plain Clip": ("y = Clip(x, zero, one)", "Clip", ""),
    "a falling ramp": ("a = Sub(one, x)  y = Clip(a, zero, one)", "Sub Clip", ""),
    "a far ramp": ("f = Mul(six, six)  a = Sub(x, f)  y = Clip(a, zero, one)", "Sub Clip", ""),
    "Relu6": ("y = Clip(x, zero, six)", "Clip", ""),
}  # fmt: skip
"""Graphs that keep their ops, and the reason that is logged where they come near."""

seeds = st.integers(0, 2**32 - 1)
RAMPS = {
    "Add": "Add({v}, {c})", "Sub": "Sub({v}, {c})", "from": "Sub({c}, {v})", "Mul": "Mul({c}, {v})",
    "Div": "Div({v}, {c})", "Max": "Max({v}, {c})", "Min": "Min({c}, {v})", "Clip": "Clip({v}, zero, one)",
    "Relu": "Relu({v})", "native": "HardSigmoid<alpha = 0.3, beta = 0.4>({v})",
    "gate": f"{SIGMOID}({{v}})", "square": "Mul({v}, x)",
}  # fmt: skip


def _canonical(build: Build, body: str) -> ir.Model:
    model = load(build(f"{IMAGE}> {{ {body} }}"))
    canonicalize(model)
    return model


def _ops(model: ir.Model) -> str:
    return " ".join(node.op_type for node in model.graph)


@pytest.mark.parametrize("body", HARD_SWISHES.values(), ids=HARD_SWISHES)
def test_hard_swish_is_one_node(body: str, build: Build, compute: Compute, deviation: Deviation) -> None:
    model = _canonical(build, body)
    assert _ops(model) == "HardSwish"
    assert [value.name for value in model.graph.outputs] == ["y"]
    assert deviation(compute(load(build(f"{IMAGE}> {{ {body} }}"))), compute(model)) < 1e-6


@pytest.mark.parametrize(("body", "alpha", "beta"), HARD_SIGMOIDS.values(), ids=HARD_SIGMOIDS)
def test_hard_sigmoid_is_one_node(
    body: str, alpha: float, beta: float, build: Build, compute: Compute, deviation: Deviation
) -> None:
    model = _canonical(build, body)
    (node,) = model.graph
    assert node.op_type == "HardSigmoid"
    assert node.attributes.get_float("alpha") == pytest.approx(alpha)
    assert node.attributes.get_float("beta") == pytest.approx(beta)
    assert deviation(compute(load(build(f"{IMAGE}> {{ {body} }}"))), compute(model)) < 1e-6


@pytest.mark.parametrize(("body", "ops", "reason"), KEPT.values(), ids=KEPT)
def test_a_neighbour_is_kept(body: str, ops: str, reason: str, build: Build, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, logger="requant.ir.canonical"):
        assert _ops(_canonical(build, body)) == ops
    assert any(reason in message for message in [*caplog.messages, ""] if message or not reason), caplog.messages


def test_an_output_of_the_graph_is_kept(build: Build) -> None:
    text = f"{IMAGE.replace('6] y)', '6] y, float[B,4,6,6] c)')}> {{ {SPELLED_OUT} }}"
    model = load(build(text))
    canonicalize(model)
    assert _ops(model) == "Add Clip Mul Div"


def test_a_number_that_gives_the_data_an_axis_is_no_part(build: Build) -> None:
    text = "(float[6] x) => (float[N,M] y) <float[1,1] three = {3}, float zero = {0}, float six = {6}>"
    model = load(build(f"{text} {{ a = Add(x, three)  c = Clip(a, zero, six)  y = Div(c, six) }}"))
    canonicalize(model)
    assert _ops(model) == "Add HardSigmoid"


def test_other_types_are_kept(build: Build) -> None:
    text = "(double[6] x) => (double[6] y) <double one = {1}, double zero = {0}>"
    model = load(build(f"{text} {{ a = Add(x, one)  y = Clip(a, zero, one) }}"))
    canonicalize(model)
    assert _ops(model) == "Add Clip"


def test_it_is_found_behind_a_conv_and_within_a_body(build: Build) -> None:
    text = f"""{IMAGE}, float[4,4,1,1] w, float[4] g, float[4] e> {{ v = Abs(e)  k = Conv(x, w)
        n = BatchNormalization(k, g, e, e, v)  a = Add(n, three)  c = Clip(a, zero, six)  p = Mul(n, c)
        h = Div(p, six)  t = ReduceMax<keepdims = 0>(x)  o = Greater(t, zero)
        y = If (o) <then_branch = u () => (float[B,N,H,W] i) {{ d = Add(h, three)  f = Clip(d, zero, six)
        i = Div(f, six) }}, else_branch = w () => (float[B,N,H,W] j) {{ j = Neg(h) }}> }}"""
    model = load(build(text))
    canonicalize(model)
    assert _ops(model) == "Conv HardSwish ReduceMax Greater If"
    (branch,) = (node for node in model.graph if node.op_type == "If")
    assert [node.op_type for node in branch.attributes["then_branch"].as_graph()] == ["HardSigmoid"]


@given(seed=seeds)
def test_any_chain_computes_the_same(seed: int, build: Build, deviation: Deviation) -> None:
    rng = np.random.default_rng(seed)
    names, lines, weights = list(RAMPS.values()), list[str](), list[str]()
    for number in range(int(rng.integers(2, 9))):
        before = f"v{number - 1}" if number else "x"
        lines.append(f"v{number} = " + names[int(rng.integers(len(names)))].format(v=before, c=f"c{number}"))
        weights.append(f"float c{number} = {{{rng.choice([0.5, 1.0, 2.0, 3.0, 6.0, -1.0, 1 / 6])}}}")
    body = "  ".join(lines) + f"  y = Mul(v{len(lines) - 1}, x)"
    text = f"{IMAGE}, {', '.join(weights)}> {{ {body} }}"
    model = load(build(text))
    canonicalize(model)
    feed = {"x": (4 * rng.standard_normal((2, 4, 6, 6))).astype(np.float32)}
    wanted, found = (runner(one, threads=1)(feed) for one in (load(build(text)), model))
    assert np.allclose(found[0], wanted[0], rtol=1e-5, atol=1e-5 * np.abs(wanted[0]).max())
