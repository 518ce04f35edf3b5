"""Norms are found in every form that exporters write; patterns that only look like one are left alone."""

from collections import Counter
from collections.abc import Callable
from typing import TypeAlias

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from numpy.typing import NDArray

from requant.ir.canonical.canonicalize import canonicalize
from requant.ir.load import load
from requant.ir.norms import Norm, find_norms
from requant.ir.refusal import Refusal

Arrays: TypeAlias = list[NDArray[np.generic]]
Build: TypeAlias = Callable[[str], onnx.ModelProto]
Compute: TypeAlias = Callable[[ir.Model], Arrays]
Deviation: TypeAlias = Callable[[Arrays, Arrays], float]

HEAD = """(float[B,T,6] x) => (float[B,T,6] y) <float[6] g, float[6] b, float e = {0.00001}, float two = {2},
          float[1] l, float half = {0.5}, float minus = {-0.5}, float one = {1}, float zero = {0},
          float[1,1,6] g3, float[1,6] b2>"""
CENTRE = "m = ReduceMean<axes = [-1]>(x)  d = Sub(x, m)"
VARIANCE = "s = Pow(d, two)  v = ReduceMean<axes = [-1]>(s)  w = Add(v, e)"

MOMENTS = (
    "k0 = Mul(x, x)  u = ReduceMean<axes = [-1]>(k0)  c2 = Mul(m, m)  q = Sub(u, c2)  p = Max(q, zero)  w = Add(p, e)"
)
NEGATIVE = MOMENTS.replace("Max(q, zero)", "Sub(u, c2)")

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
    "tensorflow": f"{CENTRE} {VARIANCE} r = Sqrt(w)  i = Reciprocal(r)  k = Mul(i, g)  a = Mul(x, k)  o = Mul(m, k)"
    "  f = Sub(b, o)  y = Add(a, f)",
    "flax": f"{CENTRE} {MOMENTS} i = Pow(w, minus)  k = Mul(i, g)  a = Mul(d, k)  y = Add(a, b)",
    "flax with negatives": f"{CENTRE} {NEGATIVE} r = Sqrt(w)  n = Div(d, r)  a = Mul(n, g)  y = Add(a, b)",
    "leading axes": f"{CENTRE} {VARIANCE} r = Sqrt(w)  n = Div(d, r)  a = Mul(n, g3)  y = Add(b2, a)",
    "fused with leading axes": "y = LayerNormalization<axis = -1>(x, g3, b2)",
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
    "offset of another mean": f"{CENTRE} {VARIANCE} r = Sqrt(w)  i = Reciprocal(r)  k = Mul(i, g)  a = Mul(x, k)"
    "  o0 = ReduceMean<axes = [1]>(x)  o = Mul(o0, k)  f = Sub(b, o)  y = Add(a, f)",
    "variance of another mean": f"{CENTRE} {MOMENTS.replace('Mul(m, m)', 'Mul(m, two)')} r = Sqrt(w)  y = Div(d, r)",
    "centred by half": f"{CENTRE} s = Pow(x, two)  v = ReduceMean<axes = [-1]>(s)  w = Add(v, e)  r = Sqrt(w)"
    "  y = Div(d, r)",
    "scaled alone": f"{CENTRE} {VARIANCE} r = Sqrt(w)  y = Div(x, r)",
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
    "gain first": f"d = Identity(x)  {VARIANCE} r = Sqrt(w)  i = Reciprocal(r)  k = Mul(g, i)  y = Mul(x, k)",
    "leading axes": f"d = Identity(x)  {VARIANCE} r = Sqrt(w)  n = Div(x, r)  y = Mul(g3, n)",
    "fused": "y = SimplifiedLayerNormalization<axis = -1>(x, g)",
    "fused with leading axes": "y = SimplifiedLayerNormalization<axis = -1>(x, g3)",
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


def _matched_norms(model: ir.Model) -> list[Norm]:
    return [norm for norm in find_norms(model.graph) if isinstance(norm, Norm)]


@pytest.mark.parametrize("name", LAYER_NORMS)
def test_a_layer_norm_becomes_one_node(name: str, build: Build, compute: Compute, deviation: Deviation) -> None:
    model = load(build(_graph(LAYER_NORMS[name])))
    before = compute(model)
    canonicalize(model)
    extra = {"Abs": 1} if name in ("no shift", "no gain") else {}
    assert Counter(node.op_type for node in model.graph) == {"LayerNormalization": 1} | extra
    assert deviation(before, compute(model)) < 1e-5
    (norm,) = _matched_norms(model)
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
    assert not _matched_norms(model)
    assert deviation(before, compute(model)) < 1e-6


@pytest.mark.parametrize("name", RMS_NORMS)
def test_an_rms_norm_is_found_where_it_is(name: str, build: Build) -> None:
    model = load(build(_graph(RMS_NORMS[name])))
    canonicalize(model)
    (norm,) = _matched_norms(model)
    assert (norm.kind, norm.channels, norm.output.name) == ("RMSNorm", 6, "y")
    node, position = norm.scale
    gamma = node.inputs[position]
    assert gamma is model.graph.initializers["g3.flat" if "leading" in name else "g"]
    assert gamma.shape == [6]
    assert (norm.shift is not None) == (name == "shifted")
    if norm.shift is not None:
        node, position = norm.shift
        assert node.inputs[position] is model.graph.initializers["b"]


@pytest.mark.parametrize("name", NO_NORMS)
def test_a_pattern_that_is_no_rms_norm_is_not_matched(name: str, build: Build) -> None:
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
    (refusal,) = find_norms(model.graph)
    assert isinstance(refusal, Refusal)
    assert reason in refusal.reason


HALF = """(float16[B,T,6] x) => (float16[B,T,6] y) <float16[6] g, float16[6] b, float[6] g1, float[6] b1,
          float e = {0.00001}, float two = {2}, double e2 = {0.00001}, double two2 = {2}>"""
WIDE = "c = Cast<to = 1>(x)"
MEAN = "m = ReduceMean<axes = [-1]>(c)  d = Sub(c, m)"
SPREAD = "s = Pow(d, two)  v = ReduceMean<axes = [-1]>(s)  w = Add(v, e)  r = Sqrt(w)"

HALVES = {
    "LayerNorm": (f"{WIDE} {MEAN} {SPREAD} n = Div(d, r)  o = Cast<to = 10>(n)  a = Mul(o, g)  y = Add(a, b)", "y"),
    "LayerNorm, all wide": (
        f"{WIDE} {MEAN} {SPREAD} n = Div(d, r)  a = Mul(n, g1)  o = Add(a, b1)  y = Cast<to = 10>(o)",
        "o",
    ),
    "LayerNorm, twice as wide inside": (
        """m = ReduceMean<axes = [-1]>(x)  d = Sub(x, m)  c = Cast<to = 11>(d)  s = Pow(c, two2)
           v = ReduceMean<axes = [-1]>(s)  w = Add(v, e2)  r = Sqrt(w)  n = Div(c, r)  o = Cast<to = 10>(n)
           a = Mul(o, g)  y = Add(a, b)""",
        "y",
    ),
    "RMSNorm": (
        f"{WIDE} d = Identity(c)  {SPREAD} i = Reciprocal(r)  n = Mul(c, i)  o = Cast<to = 10>(n)  y = Mul(g, o)",
        "y",
    ),
    "RMSNorm, all wide": (f"{WIDE} d = Identity(c)  {SPREAD} n = Div(c, r)  o = Mul(n, g1)  y = Cast<to = 10>(o)", "o"),
    "fused LayerNorm": (f"{WIDE} o = LayerNormalization<axis = -1>(c, g1, b1)  y = Cast<to = 10>(o)", "o"),
    "fused RMSNorm": (f"{WIDE} o = SimplifiedLayerNormalization<axis = -1>(c, g1)  y = Cast<to = 10>(o)", "o"),
}


@pytest.mark.parametrize("name", HALVES)
def test_a_norm_may_be_wider_than_its_input(name: str, build: Build, compute: Compute, deviation: Deviation) -> None:
    body, output = HALVES[name]
    model = load(build(f"{HALF} {{ {body} }}"))
    before = compute(model)
    canonicalize(model)
    (norm,) = _matched_norms(model)
    assert norm.kind == name.removeprefix("fused ").split(",")[0]
    assert norm.output.name == output
    assert deviation(before, compute(model)) < 4e-3
    if norm.kind == "LayerNorm":
        assert {node.op_type for node in model.graph} <= {"LayerNormalization", "Cast"}


@pytest.mark.parametrize("name", HALVES)
def test_bfloat16_is_as_good(name: str, build: Build) -> None:
    body, output = HALVES[name]
    model = load(build(f"{HALF} {{ {body} }}".replace("float16", "bfloat16").replace("to = 10", "to = 16")))
    canonicalize(model)
    (norm,) = _matched_norms(model)
    node, position = norm.scale
    gamma = node.inputs[position]
    assert gamma is not None
    assert gamma.dtype == (ir.DataType.BFLOAT16 if output == "y" else ir.DataType.FLOAT)
    assert norm.output.name == output


GAINLESS = f"d = Identity(x)  {VARIANCE} r = Sqrt(w)  n = Div(x, r)"


def test_a_norm_without_a_gain_is_given_one_for_a_linear_layer(
    build: Build, compute: Compute, deviation: Deviation
) -> None:
    text = _graph(f"{GAINLESS}  p = MatMul(n, k)  q = Abs(n)  y = Add(p, q)").replace(
        "float[6] g,", "float[6] g, float[6,6] k,"
    )
    model = load(build(text))
    before = compute(model)
    canonicalize(model)
    (norm,) = _matched_norms(model)
    gamma = norm.scale[0].inputs[norm.scale[1]]
    assert gamma is not None
    assert gamma.const_value is not None
    assert gamma.const_value.numpy().tolist() == [1] * 6
    assert {use.node.op_type for use in norm.output.uses()} == {"MatMul", "Abs"}
    assert deviation(before, compute(model)) < 1e-6
    ops = [node.op_type for node in model.graph]
    canonicalize(model)
    assert [node.op_type for node in model.graph] == ops


@pytest.mark.parametrize("body", ["y = Abs(n)", "p = Exp(n)  y = Mul(n, p)"])
def test_no_other_consumer_needs_a_gain(body: str, build: Build) -> None:
    model = load(build(_graph(f"{GAINLESS}  {body}")))
    canonicalize(model)
    assert not _matched_norms(model)
