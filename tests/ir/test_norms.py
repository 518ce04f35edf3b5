"""Norms are found however they are spelled, and what only looks like one is left alone."""

from collections import Counter
from collections.abc import Callable
from typing import TypeAlias

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from numpy.typing import NDArray

from requant.ir.canonical import canonicalize
from requant.ir.load import load
from requant.ir.norms import Norm, find_norms

Arrays: TypeAlias = list[NDArray[np.generic]]
Build: TypeAlias = Callable[[str], onnx.ModelProto]
Compute: TypeAlias = Callable[[ir.Model], Arrays]
Deviation: TypeAlias = Callable[[Arrays, Arrays], float]

HEAD = """(float[B,T,6] x) => (float[B,T,6] y) <float[6] g, float[6] b, float e = {0.00001}, float two = {2},
          float[1] l, float half = {0.5}, float minus = {-0.5}, float one = {1}>"""
CENTRE = "m = ReduceMean<axes = [-1]>(x)  d = Sub(x, m)"
VARIANCE = "s = Pow(d, two)  v = ReduceMean<axes = [-1]>(s)  w = Add(v, e)"

LAYER_NORMS = {
    "pytorch": f"{CENTRE} {VARIANCE} r = Sqrt(w)  n = Div(d, r)  a = Mul(n, g)  y = Add(a, b)",
    "commuted": f"{CENTRE} s = Mul(d, d)  v = ReduceMean<axes = [2]>(s)  w = Add(e, v)  r = Sqrt(w)"
    "  n = Div(d, r)  a = Mul(g, n)  y = Add(b, a)",
    "reciprocal": f"{CENTRE} {VARIANCE} r = Sqrt(w)  i = Reciprocal(r)  n = Mul(i, d)  a = Mul(n, g)  y = Add(a, b)",
    "one over": f"{CENTRE} {VARIANCE} r = Sqrt(w)  i = Div(one, r)  n = Mul(d, i)  a = Mul(n, g)  y = Add(a, b)",
    "powers": f"{CENTRE} {VARIANCE} i = Pow(w, minus)  n = Mul(d, i)  a = Mul(n, g)  y = Add(a, b)",
    "root as power": f"{CENTRE} {VARIANCE} r = Pow(w, half)  n = Div(d, r)  a = Mul(n, g)  y = Add(a, b)",
    "two deviations": f"{CENTRE} {VARIANCE} c = Sub(x, m)  r = Sqrt(w)  n = Div(c, r)  a = Mul(n, g)  y = Add(a, b)",
    "casts": f"""{CENTRE} c = Cast<to = 1>(d)  s = Pow(c, two)  v = ReduceMean<axes = [-1]>(s)  w = Add(v, e)
        r = Sqrt(w)  n = Div(d, r)  o = Cast<to = 1>(n)  a = Mul(o, g)  y = Add(a, b)""",
    "no shift": f"{CENTRE} {VARIANCE} r = Sqrt(w)  n = Div(d, r)  a = Mul(n, g)  y = Abs(a)",
    "no gain": f"{CENTRE} {VARIANCE} r = Sqrt(w)  n = Div(d, r)  y = Abs(n)",
    "fused": "y = LayerNormalization<axis = -1>(x, g, b)",
}

SHARED = {
    "deviation": (f"{CENTRE} {VARIANCE} r = Sqrt(w)  n = Div(d, r)  a = Mul(n, g)  o = Add(a, b)  y = Add(o, d)", 1),
    "mean": (f"{CENTRE} {VARIANCE} r = Sqrt(w)  n = Div(d, r)  a = Mul(n, g)  o = Add(a, b)  y = Add(o, m)", 1),
    "variance": (f"{CENTRE} {VARIANCE} r = Sqrt(w)  n = Div(d, r)  a = Mul(n, g)  o = Add(a, b)  y = Add(o, v)", 1),
    "normalized": (f"{CENTRE} {VARIANCE} r = Sqrt(w)  n = Div(d, r)  a = Mul(n, g)  o = Add(a, b)  y = Add(o, n)", 1),
    "scaled": (f"{CENTRE} {VARIANCE} r = Sqrt(w)  n = Div(d, r)  a = Mul(n, g)  o = Add(a, b)  y = Add(o, a)", 1),
    "two gains": (f"{CENTRE} {VARIANCE} r = Sqrt(w)  n = Div(d, r)  a = Mul(n, g)  o = Mul(n, b)  y = Add(o, a)", 1),
    "gain of one number": (f"{CENTRE} {VARIANCE} r = Sqrt(w)  n = Div(d, r)  a = Mul(n, l)  y = Abs(a)", 1),
    "computed in double": (
        "c = Cast<to = 11>(x)  f = Cast<to = 11>(e)  k = Cast<to = 11>(two)  m = ReduceMean<axes = [-1]>(c)"
        "  d = Sub(c, m)  s = Pow(d, k)  v = ReduceMean<axes = [-1]>(s)  w = Add(v, f)  r = Sqrt(w)"
        "  n = Div(d, r)  y = Cast<to = 1>(n)",
        0,
    ),
}

NEAR_MISSES = {
    "no epsilon": f"{CENTRE} s = Pow(d, two)  v = ReduceMean<axes = [-1]>(s)  r = Sqrt(v)  y = Div(d, r)",
    "epsilon outside": f"{CENTRE} s = Pow(d, two)  v = ReduceMean<axes = [-1]>(s)  r = Sqrt(v)  w = Add(r, e)"
    "  y = Div(d, w)",
    "another axis": "m = ReduceMean<axes = [1]>(x)  d = Sub(x, m)  s = Pow(d, two)  v = ReduceMean<axes = [1]>(s)"
    "  w = Add(v, e)  r = Sqrt(w)  y = Div(d, r)",
    "variance of another axis": f"{CENTRE} s = Pow(d, two)  v = ReduceMean<axes = [1]>(s)  w = Add(v, e)"
    "  r = Sqrt(w)  y = Div(d, r)",
    "two axes": "m = ReduceMean<axes = [1, 2]>(x)  d = Sub(x, m)  s = Pow(d, two)"
    "  v = ReduceMean<axes = [1, 2]>(s)  w = Add(v, e)  r = Sqrt(w)  y = Div(d, r)",
    "fourth power": f"{CENTRE} s = Pow(d, t)  v = ReduceMean<axes = [-1]>(s)  w = Add(v, e)  r = Sqrt(w)"
    "  y = Div(d, r)",
    "ddof": f"{CENTRE} s = Pow(d, two)  u = ReduceMean<axes = [-1]>(s)  v = Mul(u, t)  w = Add(v, e)"
    "  r = Sqrt(w)  y = Div(d, r)",
    "not divided": f"{CENTRE} {VARIANCE} r = Sqrt(w)  y = Mul(d, r)",
    "upside down": f"{CENTRE} {VARIANCE} r = Sqrt(w)  y = Div(r, d)",
    "sum": f"{CENTRE} {VARIANCE} r = Sqrt(w)  y = Add(d, r)",
    "variance of another": "m = ReduceMean<axes = [-1]>(x)  d = Sub(x, m)  o = Abs(d)  q = Exp(x)  s = Pow(q, two)"
    "  v = ReduceMean<axes = [-1]>(s)  w = Add(v, e)  r = Sqrt(w)  y = Div(o, r)",
    "mean of another": "q = Abs(x)  m = ReduceMean<axes = [-1]>(q)  d = Sub(x, m)  s = Pow(d, two)"
    "  v = ReduceMean<axes = [-1]>(s)  w = Add(v, e)  r = Sqrt(w)  y = Div(d, r)",
}

RMS_NORMS = {
    "pytorch": f"d = Identity(x)  {VARIANCE} r = Sqrt(w)  i = Reciprocal(r)  n = Mul(x, i)  y = Mul(g, n)",
    "divided": f"d = Identity(x)  {VARIANCE} r = Sqrt(w)  n = Div(x, r)  y = Mul(n, g)",
    "powers": f"d = Identity(x)  {VARIANCE} i = Pow(w, minus)  n = Mul(i, x)  y = Mul(n, g)",
    "shifted": f"d = Identity(x)  {VARIANCE} r = Sqrt(w)  n = Div(x, r)  a = Mul(n, g)  y = Add(b, a)",
    "fused": "y = SimplifiedLayerNormalization<axis = -1>(x, g)",
}

NO_NORMS = {
    "not divided": f"d = Identity(x)  {VARIANCE} r = Sqrt(w)  n = Mul(x, r)  y = Mul(n, g)",
    "sum": f"d = Identity(x)  {VARIANCE} r = Sqrt(w)  n = Add(x, r)  y = Mul(n, g)",
    "fourth power": "s = Pow(x, t)  v = ReduceMean<axes = [-1]>(s)  w = Add(v, e)  r = Sqrt(w)  n = Div(x, r)"
    "  y = Mul(n, g)",
    "another's": f"d = Abs(x)  {VARIANCE} r = Sqrt(w)  n = Div(x, r)  y = Mul(n, g)",
    "gain of one": f"d = Identity(x)  {VARIANCE} r = Sqrt(w)  n = Div(x, r)  y = Mul(n, t)",
    "another domain": "y = com.microsoft.LayerNormalization<axis = -1>(x, g, b)",
}


def _graph(body: str) -> str:
    return f"{HEAD.replace('float two', 'float t = {4}, float two')} {{ {body} }}"


def _found(model: ir.Model) -> list[Norm]:
    return [norm for norm in find_norms(model.graph) if isinstance(norm, Norm)]


@pytest.mark.parametrize("name", LAYER_NORMS)
def test_a_layer_norm_becomes_one_node(name: str, build: Build, compute: Compute, deviation: Deviation) -> None:
    model = load(build(_graph(LAYER_NORMS[name])))
    before = compute(model)
    canonicalize(model)
    extra = {"Abs": 1} if name in ("no shift", "no gain") else {}
    assert Counter(node.op_type for node in model.graph) == {"LayerNormalization": 1} | extra
    assert deviation(before, compute(model)) < 1e-5
    (norm,) = _found(model)
    assert (norm.kind, norm.channels, norm.output.name) == ("LayerNorm", 6, "y" if not extra else norm.output.name)


@pytest.mark.parametrize("name", SHARED)
def test_another_reader_of_an_intermediate_still_gets_it(
    name: str, build: Build, compute: Compute, deviation: Deviation
) -> None:
    body, count = SHARED[name]
    model = load(build(_graph(body)))
    before = compute(model)
    canonicalize(model)
    assert [node.op_type for node in model.graph].count("LayerNormalization") == count
    assert deviation(before, compute(model)) < 1e-5


def test_an_intermediate_that_is_an_output_stays(build: Build, compute: Compute, deviation: Deviation) -> None:
    text = _graph(LAYER_NORMS["pytorch"]).replace("float[B,T,6] y)", "float[B,T,6] y, float[B,T,6] n)")
    model = load(build(text))
    before = compute(model)
    canonicalize(model)
    assert [value.name for value in model.graph.outputs] == ["y", "n"]
    assert deviation(before, compute(model)) < 1e-5


@pytest.mark.parametrize("name", NEAR_MISSES)
def test_a_near_miss_is_left_alone(name: str, build: Build, compute: Compute, deviation: Deviation) -> None:
    model = load(build(_graph(NEAR_MISSES[name])))
    before = compute(model)
    canonicalize(model)
    assert not _found(model)
    assert deviation(before, compute(model)) < 1e-6


@pytest.mark.parametrize("name", RMS_NORMS)
def test_an_rms_norm_is_found_where_it_is(name: str, build: Build) -> None:
    model = load(build(_graph(RMS_NORMS[name])))
    canonicalize(model)
    (norm,) = _found(model)
    assert (norm.kind, norm.channels, norm.output.name) == ("RMSNorm", 6, "y")
    node, position = norm.scale
    assert node.inputs[position] is model.graph.initializers["g"]
    assert (norm.shift is not None) == (name == "shifted")
    if norm.shift is not None:
        node, position = norm.shift
        assert node.inputs[position] is model.graph.initializers["b"]


@pytest.mark.parametrize("name", NO_NORMS)
def test_what_is_no_rms_norm_is_none(name: str, build: Build) -> None:
    model = load(build(_graph(NO_NORMS[name])))
    canonicalize(model)
    assert not list(find_norms(model.graph))


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("q = Abs(g)  r = Mul(q, x1)  y = LayerNormalization<axis = -1>(x, r, b)", "scale is computed at run time"),
        ("r = Mul(b, x1)  y = LayerNormalization<axis = -1>(x, g, r)", "bias is computed at run time"),
        ("y = LayerNormalization<axis = 1>(x, g2, b2)", "normalizes over 2 axes"),
    ],
)
def test_a_norm_that_cannot_be_rewritten_says_why(body: str, reason: str, build: Build) -> None:
    text = f"""(float[B,5,6] x, float[6] x1) => (float[B,5,6] y)
        <float[6] g, float[6] b, float[5,6] g2, float[5,6] b2> {{ {body} }}"""
    model = load(build(text))
    canonicalize(model)
    (found,) = find_norms(model.graph)
    assert isinstance(found, tuple)
    assert reason in found[1]
