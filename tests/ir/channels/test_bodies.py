"""Sites in the bodies of If, Loop and Scan: inside of one body; what crosses its border is refused with the reason."""

from collections.abc import Callable

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from hypothesis import given
from hypothesis import strategies as st

from requant.ir.canonical.canonicalize import canonicalize
from requant.ir.channels.find import Refusal, Site, find_sites
from requant.ir.channels.inserted import find_inserted
from requant.ir.linear import find_linears
from requant.ir.load import load
from requant.ir.transform.apply import ChannelTransform, apply_transform
from requant.runtime.feeds import Feed
from requant.runtime.outputs import numbers
from requant.runtime.session import runner

Build = Callable[[str], onnx.ModelProto]

HEAD = """(float[3,4] x, bool p) => (float[3,K] y) <float[4] g, float[4] b, float[4,4] w, float[4,4] v, float[6,3] u,
          int64 n = {3}, bool yes = {1}>"""
NORM = "l = LayerNormalization(s, g, b)  h = MatMul(l, w)  t = Tanh(h)  d = MatMul(t, v)"
LOOP = "y = Loop (n, yes, x) <body = b (int64 i, bool go, float[3,4] s) => (bool on, float[3,4] d) { on = Identity(go) "
SCAN = "z, y = Scan <num_scan_inputs = 1, body = b (float[4] s, float[4] e) => (float[4] d, float[4] o) {"
BRANCH = "y = If (p) <then_branch = t () => (float[3,K] d) {"
ELSE = "}, else_branch = e () => (float[3,K] ey) { ey = Identity(x) }>"
SELF = NORM.replace("(s,", "(x,")

SITES = {
    "a norm in a Loop": f"{LOOP} {NORM} }}>",
    "a norm in a Scan": f"c = ReduceMax<axes = [0], keepdims = 0>(x) {SCAN} a = Add(s, e) "
    f"{NORM.replace('(s,', '(a,')} o = Neg(d) }}> (c, x)",
    "a norm in a branch": f"{BRANCH} {SELF} {ELSE}",
    "a norm in a branch in a branch": f"{BRANCH} d = If (p) <then_branch = q () => (float[3,4] f) {{ "
    f"{SELF.replace('d =', 'f =')} }}, else_branch = r () => (float[3,4] k) {{ k = Relu(x) }}> {ELSE}",
}

REFUSED = {
    "read outside of its body": (f"l = LayerNormalization(x, g, b) {BRANCH} d = MatMul(l, w) {ELSE}", "LayerNorm", "l",
                                 "'l' is read inside a subgraph"),
    "made outside of the body": (f"r = Relu(x) {BRANCH} d = MatMul(r, w) {ELSE}", "Relu", "r",
                                 "'r' is computed outside of the body that reads it"),
    "handed out": (f"{LOOP} d = LayerNormalization(s, g, b) h = MatMul(d, w) }}>".replace("on =", "q = Neg(h) on ="),
                   "LayerNorm", "d", "'d' is an output of the graph, so its values must stay as they are"),
    "a state": (f"{LOOP} d = MatMul(s, w) }}>", "Input", "s", "'s' is an input of the graph"),
    "a weight that is read outside too": (f"m = MatMul(x, w) y2 = Loop (n, yes, m) <{LOOP.split('<', 1)[1]} {NORM} }}>"
                                          " y = Neg(y2)", "LayerNorm", "l", "weight 'w' is also read by 'm'"),
}  # fmt: skip


def model_of(text: str, build: Build) -> ir.Model:
    model = load(build(f"{HEAD} {{ {text} }}"))
    canonicalize(model)
    return model


def feeds() -> list[Feed]:
    x = np.random.default_rng(0).standard_normal((3, 4)).astype(np.float32)
    return [{"x": x, "p": np.array(condition)} for condition in (True, False)]


@pytest.mark.parametrize("name", SITES)
@given(seed=st.integers(0, 2**32 - 1))
def test_a_site_inside_of_a_body_is_transformed_exactly(name: str, seed: int, build: Build) -> None:
    model, rng = model_of(SITES[name], build), np.random.default_rng(seed)
    before = [runner(model)(_of(model, feed)) for feed in feeds()]
    names = [linear.output.name for linear in find_linears(model.graph)]
    (site,) = [place for place in find_sites(model) if isinstance(place, Site)]
    assert (site.kind, [consumer.linear.output.name for consumer in site.consumers]) == ("LayerNorm", names[:1])
    places = [place for place in find_inserted(model, [site]) if isinstance(place, Site)]
    assert [place.name for place in places] == ["t"]
    for place in (site, *places):
        scale, shift = 10 ** rng.uniform(-1, 1, 4), rng.uniform(-3, 3, 4)
        apply_transform(place, ChannelTransform(scale, shift if place.shift_blocked is None else 0 * shift))
    after = [runner(model)(_of(model, feed)) for feed in feeds()]
    for expected, actual in zip(before, after, strict=True):
        np.testing.assert_allclose(numbers(actual[-1]), numbers(expected[-1]), rtol=1e-3, atol=1e-4)


def _of(model: ir.Model, feed: Feed) -> Feed:
    return {name: feed[name] for value in model.graph.inputs if (name := value.name)}


@pytest.mark.parametrize("name", REFUSED)
def test_what_crosses_the_border_of_a_body_is_refused(name: str, build: Build) -> None:
    text, *expected = REFUSED[name]
    places = find_sites(model_of(text, build))
    refusals = [(place.kind, place.name, place.reason) for place in places if isinstance(place, Refusal)]
    assert tuple(expected) in refusals


def test_a_value_that_two_graphs_read_is_transformed_in_each(build: Build) -> None:
    model = model_of(f"c = Erf(x) m = MatMul(c, w) {BRANCH} f = MatMul(c, v) d = Add(f, m) {ELSE}", build)
    before = [runner(model)(feed) for feed in feeds()]
    sites = [place for place in find_inserted(model, []) if isinstance(place, Site)]
    assert [[consumer.linear.output.name for consumer in site.consumers] for site in sites] == [["m"], ["f"]]
    added = [apply_transform(site, ChannelTransform(np.array([1.0, 2, 3, 4]), np.ones(4))) for site in sites]
    assert added == [3, 3]
    for (expected,), feed in zip(before, feeds(), strict=True):
        np.testing.assert_allclose(numbers(runner(model)(feed)), numbers(expected), rtol=1e-4, atol=1e-5)
