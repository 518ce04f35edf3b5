"""States that a body hands on as they are become values that it captures."""

from collections.abc import Callable

import numpy as np
import onnx
import pytest

from requant.ir.canonical.canonicalize import canonicalize
from requant.ir.linear import find_linears
from requant.ir.load import load
from requant.runtime.feeds import Feed
from requant.runtime.outputs import numbers
from requant.runtime.session import runner

Build = Callable[[str], onnx.ModelProto]

STEP = """Loop (n, yes, x, w, b) <body = step (int64 i, bool go, float[4,24] s, float[24,24] m, float[24] a)
    => (bool on, float[4,24] t, float[24,24] k, float[24] d)
    { on = Identity(go)  p = MatMul(s, m)  q = Add(p, a)  t = Tanh(q)  k = Identity(m)  d = Identity(a) }>"""
WEIGHTS = "<float[24,24] w, float[24] b, bool yes = {1}>"
LOOP = f"(float[4,24] x, int64 n) => (float[4,24] y) {WEIGHTS} {{ y, v, c = {STEP} }}"
BEHIND = f"(float[4,24] x, int64 n) => (float[4,24] z) {WEIGHTS} {{ y, v, c = {STEP} z = MatMul(y, v) }}"
BRANCH = f"""(float[4,24] x, int64 n, bool f) => (float[4,24] y) {WEIGHTS} {{
    y = If (f) <then_branch = t () => (float[4,24] g) {{ g, v, c = {STEP} }},
        else_branch = e () => (float[4,24] h) {{ h = Identity(x) }}> }}"""

SCAN = """(float[4,24] x, float[5,4,24] xs) => (float[4,24] y) <float[24,24] w> {
    v, y, ys = Scan <num_scan_inputs = 1, body = step (float[24,24] m, float[4,24] s, float[4,24] e)
        => (float[24,24] k, float[4,24] t, float[4,24] o)
        { p = MatMul(s, m)  q = Add(p, e)  t = Tanh(q)  k = Identity(m)  o = Neg(t) }> (w, x, xs) }"""

DIRECT = LOOP.replace("k = Identity(m)", "").replace("float[24,24] k", "float[24,24] m")
CROSSED = (
    LOOP.replace("float[24,24] m, float[24] a", "float[24,24] b, float[24] w")
    .replace("p = MatMul(s, m)  q = Add(p, a)", "p = MatMul(s, b)  q = Add(p, w)")
    .replace("k = Identity(m)  d = Identity(a)", "k = Identity(b)  d = Neg(w)")
)
"""The weight has the name of the bias in the body, where that is called as the weight is, and changes."""

BODIES = {"Loop": LOOP, "returned directly": DIRECT, "Scan": SCAN, "read behind": BEHIND, "in a branch": BRANCH}
"""Graphs of which all states but the data are handed on."""
FEEDS: Feed = {
    "x": np.random.default_rng(0).standard_normal((4, 24)).astype(np.float32),
    "xs": np.random.default_rng(1).standard_normal((5, 4, 24)).astype(np.float32),
    "f": np.array(True),
}

KEPT = {
    "an output of the graph": ("=> (float[4,24] y)", "=> (float[4,24] y, float[24,24] v)"),
    "it changes": ("k = Identity(m)", "k = Neg(m)"),
}


@pytest.mark.parametrize("steps", [0, 3])
@pytest.mark.parametrize("name", BODIES)
def test_a_weight_among_the_states_is_a_weight(name: str, steps: int, build: Build) -> None:
    proto = build(BODIES[name])
    model = load(proto)
    canonicalize(model)
    assert {linear.shape for linear in find_linears(model.graph)} == {(24, 24)}
    (node,) = (node for node in model.graph.all_nodes() if node.op_type in ("Loop", "Scan"))
    assert len(node.inputs) == (3 if node.op_type == "Loop" else 2)
    feed = feed_of(proto, steps)
    expected, actual = (numbers(runner(one)(feed)[0]) for one in (load(proto), model))
    np.testing.assert_allclose(actual, expected, atol=1e-6)


def test_names_in_the_body_may_cross_those_outside(build: Build) -> None:
    proto = build(CROSSED)
    model = load(proto)
    canonicalize(model)
    assert [linear.shape for linear in find_linears(model.graph)] == [(24, 24)]
    expected, actual = (numbers(runner(one)(feed_of(proto, 3))[0]) for one in (load(proto), model))
    np.testing.assert_allclose(actual, expected, atol=1e-6)


@pytest.mark.parametrize("name", KEPT)
def test_another_state_is_carried(name: str, build: Build) -> None:
    proto = build(LOOP.replace(*KEPT[name]))
    model = load(proto)
    canonicalize(model)
    assert list(find_linears(model.graph)) == []
    expected, actual = (runner(one)(feed_of(proto, 2)) for one in (load(proto), model))
    np.testing.assert_allclose(numbers(actual[0]), numbers(expected[0]), atol=1e-6)


def feed_of(proto: onnx.ModelProto, steps: int) -> Feed:
    arrays: Feed = {**FEEDS, "n": np.array(steps)}
    return {value.name: arrays[value.name] for value in proto.graph.input}
