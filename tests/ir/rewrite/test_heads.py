"""Heads that are scaled leave the outputs as they are, and the operands of the product divided; others are refused."""

import re
from collections.abc import Callable
from dataclasses import replace
from math import prod
from typing import TypeAlias

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from models.synthetic import BUILDERS, Dialect, Transformer
from requant.ir.canonical.form import canonicalize
from requant.ir.load import load
from requant.ir.rewrite.heads import Heads, find_heads, rescale
from requant.ir.sites.find import Refused, find_sites

Arrays: TypeAlias = list[NDArray[np.generic]]
Build: TypeAlias = Callable[[str], onnx.ModelProto]
Compute: TypeAlias = Callable[[ir.Model], Arrays]
Deviation: TypeAlias = Callable[[Arrays, Arrays], float]

SINGLE, DOUBLE = 1e-4, 1e-10
"""How far outputs may move, of the largest magnitude."""

seeds = st.integers(0, 2**32 - 1)

CONSTANTS = """float[16,16] w, float[16,16] w2, float[16,16] v, float[16,8] narrow, float[16,4] least, float[16,48] w3,
    float[16] b, float[16] c, float[48] b3, float[16,16] u, float[4] gain, float small = {0.15}, float two = {2},
    float[1] half = {0.5}, float less = {-0.5}, float[4,1,1] each = {0.2, 0.4, 0.6, 0.8}, float[5,4] cos,
    float[5,4] sin, float[16,16] w4, float[1,4,1,4] added, float[5,5] several, int64[4] heads = {0, 0, 4, 4},
    int64[4] pair = {0, 0, 2, 4}, int64[4] one = {0, 0, 1, 4}, int64[4] single = {0, 0, 1, 16},
    int64[3] back = {0, 0, 16},
    int64[5] three = {0, 0, 3, 4, 4}, int64[5] groups = {0, 0, 2, 2, 4}, int64[1] at = {2},
    int64[5] twice = {1, 1, 2, 1, 1}, int64[4] shared = {0, 4, -1, 4}, int64 i0 = {0}, int64 i1 = {1}, int64 i2 = {2},
    int64[4] order = {3, 1, 0, 2}, int64[4] swap = {1, 0, 3, 2}"""
HEAD = f"(float[B,T,16] x) => (float[B,K,M] y) <{CONSTANTS}>"
SMALL = "n = Mul(x, small)"
Q = "q = MatMul(n, w)  qb = Add(q, b)  qh = Reshape(qb, heads)  qt = Transpose<perm = [0, 2, 1, 3]>(qh)"
K = "k = MatMul(n, w2)  kb = Add(c, k)  kh = Reshape(kb, heads)  kt = Transpose<perm = [0, 2, 3, 1]>(kh)"
V = "d = MatMul(n, v)  dh = Reshape(d, heads)  dt = Transpose<perm = [0, 2, 1, 3]>(dh)"
OUT = (
    "a = Softmax<axis = -1>(s)  o = MatMul(a, dt)  ot = Transpose<perm = [0, 2, 1, 3]>(o)"
    "  j = Reshape(ot, back)  y = MatMul(j, u)"
)
ALSO = OUT.replace("y =", "z =")
SCORES = "p = MatMul(qt, kt)  s = Div(p, two)"


def _turned(name: str) -> str:
    """Rotary position embedding of ``name``t into ``name``r, both [B, H, T, 4]."""
    return (
        f"{name}1, {name}2 = Split<axis = -1>({name}t)  {name}3 = Neg({name}2)"
        f"  {name}4 = Concat<axis = -1>({name}3, {name}1)  {name}5 = Mul({name}4, sin)"
        f"  {name}6 = Mul({name}t, cos)  {name}r = Add({name}6, {name}5)"
    )


NARROW = "k = MatMul(n, narrow)  kh = Reshape(k, pair)  kt = Transpose<perm = [0, 2, 1, 3]>(kh)"
REPEATED = "ku = Unsqueeze(kt, at)  ke = Expand(ku, twice)  kf = Reshape(ke, shared)"
GROUPED = f"{NARROW} {REPEATED}"
KT = "kz = Transpose<perm = [0, 1, 3, 2]>"

GRAPHS: dict[str, str] = {
    "div": f"{Q} {K} {V} {SCORES} {OUT}",
    "mul, the other way round": f"{Q} {K} {V} p = MatMul(qt, kt)  s = Mul(half, p) {OUT}",
    "a factor for each head": f"{Q} {K} {V} p = MatMul(qt, kt)  s = Mul(p, each) {OUT}",
    "no factor": f"{Q} {K} {V} s = MatMul(qt, kt) {OUT}",
    "no factor, a mask": f"{Q} {K} {V} p = MatMul(qt, kt)  s = Add(p, several) {OUT}",
    "scores that others read": (
        f"{Q} {K} {V} s = MatMul(qt, kt) {ALSO}  r = ReduceMax<keepdims = 0>(s)  y = Add(z, r)"
    ),
    "mul on q": f"{Q} {K} {V} qs = Mul(qt, half)  s = MatMul(qs, kt) {OUT}",
    "div on q, further up": (
        f"{Q.replace('Reshape(qb', 'Reshape(qs').replace('qh =', 'qs = Div(qb, two)  qh =')}"
        f" {K} {V} s = MatMul(qt, kt) {OUT}"
    ),
    "mul on both": f"{Q} {K} {V} qs = Mul(qt, half)  ks = Mul(two, kt)  s = MatMul(qs, ks) {OUT}",
    "a negative factor of q": f"{Q} {K} {V} qs = Mul(qt, less)  s = MatMul(qs, kt) {OUT}",
    "mul on q and a factor": f"{Q} {K} {V} qs = Mul(qt, half)  p = MatMul(qs, kt)  s = Div(p, two) {OUT}",
    "fused, split": (
        "f = MatMul(n, w3)  fb = Add(f, b3)  qb, kb, d = Split<axis = -1>(fb)"
        f" {Q[Q.index('qh') :]} {K[K.index('kh') :]} {V[V.index('dh') :]} {SCORES} {OUT}"
    ),
    "fused, gathered": (
        "f = MatMul(n, w3)  fb = Add(f, b3)  fh = Reshape(fb, three)"
        "  ft = Transpose<perm = [2, 0, 3, 1, 4]>(fh)  qt = Gather<axis = 0>(ft, i0)  ks = Gather<axis = 0>(ft, i1)"
        f"  dt = Gather<axis = 0>(ft, i2)  {KT}(ks)  qs = Mul(qt, half)  s = MatMul(qs, kz) {OUT}"
    ),
    "fused, one factor for all": (
        "f = MatMul(n, w3)  fs = Mul(f, half)  qb, kb, d = Split<axis = -1>(fs)"
        f" {Q[Q.index('qh') :]} {K[K.index('kh') :]} {V[V.index('dh') :]} s = MatMul(qt, kt) {OUT}"
    ),
    "fused, gathered, one factor for all": (
        "f = MatMul(n, w3)  fs = Mul(half, f)  fh = Reshape(fs, three)  ft = Transpose<perm = [2, 0, 3, 1, 4]>(fh)"
        "  qt = Gather<axis = 0>(ft, i0)  ks = Gather<axis = 0>(ft, i1)"
        f"  dt = Gather<axis = 0>(ft, i2)  {KT}(ks)  s = MatMul(qt, kz) {OUT}"
    ),
    "a factor of some heads": (
        f"{Q} {K} {V} e, f = Split<axis = 1>(qt)  es = Mul(e, half)  qs = Concat<axis = 1>(es, f)"
        f"  s = MatMul(qs, kt) {OUT}"
    ),
    "grouped, expanded": f"{Q} {GROUPED}  {KT}(kf) {V} p = MatMul(qt, kz)  s = Div(p, two) {OUT}",
    "grouped, a factor of k": f"{Q} {GROUPED}  kg = Mul(kf, half)  {KT}(kg) {V} s = MatMul(qt, kz) {OUT}",
    "grouped, five axes": (
        "q = MatMul(n, w)  qh = Reshape(q, groups)  qt = Transpose<perm = [0, 2, 3, 1, 4]>(qh)"
        "  k = MatMul(n, narrow)  kh = Reshape(k, pair)  ks = Transpose<perm = [0, 2, 3, 1]>(kh)"
        "  kt = Unsqueeze(ks, at)  d = MatMul(n, v)  dh = Reshape(d, groups)"
        f"  dt = Transpose<perm = [0, 2, 3, 1, 4]>(dh) {SCORES}  a = Softmax<axis = -1>(s)  o = MatMul(a, dt)"
        "  ot = Transpose<perm = [0, 3, 1, 2, 4]>(o)  j = Reshape(ot, back)  y = MatMul(j, u)"
    ),
    "one key head": (
        f"{Q} k = MatMul(n, least)  kh = Reshape(k, one)  kt = Transpose<perm = [0, 2, 3, 1]>(kh) {V} {SCORES} {OUT}"
    ),
    "rotary": (
        f"{Q} {_turned('q')} {K.replace('[0, 2, 3, 1]', '[0, 2, 1, 3]')} {_turned('k')}"
        f"  ks = Transpose<perm = [0, 1, 3, 2]>(kr) {V} p = MatMul(qr, ks)  s = Div(p, two) {OUT}"
    ),
    "rotary, grouped, a factor of q": (
        f"{Q} {_turned('q')}  qs = Mul(qr, half) {NARROW} {_turned('k')}"
        f" {REPEATED.replace('kt', 'kr')}  {KT}(kf) {V} s = MatMul(qs, kz) {OUT}"
    ),
    "other order of heads": f"{Q} qg = Gather<axis = 1>(qt, order) {K} {V} p = MatMul(qg, kt)  s = Div(p, two) {OUT}",
    "bias behind the reshape": f"{Q} qa = Add(qt, added) {K} {V} p = MatMul(qa, kt)  s = Div(p, two) {OUT}",
    "a sum of two layers": (
        f"q = MatMul(n, w)  l = MatMul(n, w4)  qb = Add(q, l) {Q[Q.index('qh') :]} {K} {V} {SCORES} {OUT}"
    ),
    "gemm": (
        """(float[T,16] x) => (float[K,M] y) <float[16,16] w, float[16,16] w2, float[16,16] v, float[16] b, float[16] c,
        float small = {0.15}, float two = {2}, int64[3] heads = {0, 4, 4}, int64[2] back = {0, 16}> {
        n = Mul(x, small)  q = Gemm<transB = 1, beta = 2.0>(n, w, b)  qh = Reshape(q, heads)
        qt = Transpose<perm = [1, 0, 2]>(qh)  k = Gemm<alpha = 0.5>(n, w2, c)  kh = Reshape(k, heads)
        kt = Transpose<perm = [1, 2, 0]>(kh)  d = Gemm(n, v)  dh = Reshape(d, heads)
        dt = Transpose<perm = [1, 0, 2]>(dh)  p = MatMul(qt, kt)  s = Div(p, two)
        a = Softmax<axis = -1>(s)  o = MatMul(a, dt)  ot = Transpose<perm = [1, 0, 2]>(o)  y = Reshape(ot, back) }"""
    ),
}
"""What is between the scaled input ``n`` and the output, or whole graphs, each with four query heads."""

KEYS = dict.fromkeys((name for name in GRAPHS if "grouped" in name), 2) | {"one key head": 1}
"""Key heads, where there are not four."""

PLAIN = ("no factor", "no factor, a mask", "scores that others read", "a negative factor of q")
NODES = dict.fromkeys((*PLAIN, *(name for name in GRAPHS if name.endswith(("for all", "some heads")))), 1)
NODES["mul on both"] = -1
"""Nodes that scales add, where that is not 0."""

BODY = f"{Q} {K} {V}"
REFUSED: dict[str, tuple[str, str]] = {
    "the op Attention": (
        """(float[B,T,16] x) => (float[B,T,16] y) <float[16,16] w, float[16,16] w2, float[16,16] v> {
        q = MatMul(x, w)  k = MatMul(x, w2)  d = MatMul(x, v)
        y = Attention<q_num_heads = 4, kv_num_heads = 4>(q, k, d) }""",
        "Attention is one op: its scores have no place for a factor",
    ),
    "the op MultiHeadAttention": (
        """(float[B,T,16] x) => (float[B,T,16] y) <float[16,16] w, float[16,16] w2, float[16,16] v> {
        q = MatMul(x, w)  k = MatMul(x, w2)  d = MatMul(x, v)
        y = com.microsoft.MultiHeadAttention<num_heads = 4>(q, k, d) }""",
        "MultiHeadAttention is one op: its scores have no place for a factor",
    ),
    "one head, no axis": (
        "q = MatMul(n, w)  k = MatMul(n, w2)  kt = Transpose<perm = [0, 2, 1]>(k)  d = MatMul(n, v)"
        "  p = MatMul(q, kt)  s = Div(p, two)  a = Softmax<axis = -1>(s)  o = MatMul(a, d)  y = MatMul(o, u)",
        "its queries have no axis of heads",
    ),
    "one head": (
        f"{BODY.replace('heads', 'single')} {SCORES} {OUT}",
        "its queries have no axis of heads",
    ),
    "a weight of a stranger": (
        f"{BODY} {SCORES} {ALSO}  e = MatMul(z, w)  y = Softmax(e)",
        "weight 'w' is also read by 'e'",
    ),
    "one weight for both": (f"{BODY.replace('w2', 'w')} {SCORES} {OUT}", "weight 'w' is also read by 'k'"),
    "queries that others read": (
        f"{BODY} {SCORES} {ALSO}  e = Exp(qb)  y = Add(e, z)",
        "Exp 'e' takes no basis",
    ),
    "queries that a layer reads": (
        f"{BODY} {SCORES} {ALSO}  e = MatMul(qb, w4)  y = Add(e, z)",
        "its queries or keys are also read by 'e'",
    ),
    "an activation": (f"{BODY}  g = Tanh(kt)  p = MatMul(qt, g)  s = Div(p, two) {OUT}", "Tanh 'g' lets no"),
    "a norm": (
        f"{BODY}  f = LayerNormalization(qt, gain)  p = MatMul(f, kt)  s = Div(p, two) {OUT}",
        "LayerNormalization 'f' lets no scale through",
    ),
    "keys from outside": (
        f"{HEAD.replace(' x)', ' x, float[B,4,4,S] kt)')} {{ {SMALL} {Q} {V} {SCORES} {OUT} }}",
        "'kt' is an input of the graph",
    ),
    "a head that is made elsewhere": (
        f"{BODY}  g, h = Split<axis = 1>(kt)  e = Exp(h)  f = Concat<axis = 1>(g, e)"
        f"  p = MatMul(qt, f)  s = Div(p, two) {OUT}",
        "some of its channels must stay as they are",
    ),
    "two products": (
        f"{BODY} {SCORES} {ALSO}  r = MatMul(n, w4)  rh = Reshape(r, heads)"
        "  rt = Transpose<perm = [0, 2, 1, 3]>(rh)  e = MatMul(rt, kt)  f = Softmax(e)"
        "  g = ReduceMax<keepdims = 0>(f)  y = Add(z, g)",
        "its queries or keys are tied to those of 'e'",
    ),
    "queries that are partly keys": (
        f"{K} {Q} {V} kr = Transpose<perm = [0, 1, 3, 2]>(kt)  kg = Gather<axis = 3>(kr, swap)"
        f"  qa = Add(qt, kg)  p = MatMul(qa, kt)  s = Div(p, two) {OUT}",
        "its queries and keys have channels in common",
    ),
    "scores that are read before the factor": (
        f"{BODY} {SCORES} {ALSO}  r = ReduceMax<keepdims = 0>(p)  y = Add(z, r)",
        "'p' is read before its factor",
    ),
    "a factor known only at run time": (
        f"{BODY}  f = ReduceMax<keepdims = 0>(x)  p = MatMul(qt, kt)  s = Mul(p, f) {OUT}",
        "Mul 's' is by no constant",
    ),
    "a divided constant": (f"{BODY}  p = MatMul(qt, kt)  s = Div(two, p) {OUT}", "Div 's' is by no constant"),
    "a factor for each score": (
        f"{BODY}  p = MatMul(qt, kt)  s = Mul(p, several) {OUT}",
        "Mul 's' is by more than one constant for each head",
    ),
}
"""Graphs as text, and why their heads cannot be scaled."""


def _text(body: str) -> str:
    return body if body.startswith("(") else f"{HEAD} {{ {SMALL} {body} }}"


def _model(proto: onnx.ModelProto) -> ir.Model:
    model = load(proto)
    canonicalize(model)
    return model


def _heads(model: ir.Model) -> Heads:
    (heads,) = find_heads(model, find_sites(model))
    assert isinstance(heads, Heads)
    return heads


def _scales(heads: Heads, seed: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    rng = np.random.default_rng(seed)
    query, key = (np.exp(rng.uniform(np.log(1 / 8), np.log(8), count)) for count in (heads.count, heads.keys))
    return query, key


def _rescaled(model: ir.Model, seed: int) -> int:
    heads = _heads(model)
    return rescale(heads, *_scales(heads, seed))


def _double(text: str) -> str:
    return text.replace("float[", "double[").replace("float ", "double ")


def _tapped(model: ir.Model, values: list[ir.Value | None], compute: Compute) -> Arrays:
    """What the graph computes for ``values``."""
    model.graph.outputs.extend(value for value in values if value is not None)
    computed = compute(model)[-len(values) :]
    for _ in values:
        model.graph.outputs.pop()
    return computed


@pytest.mark.parametrize("name", GRAPHS)
@given(seed=seeds)
def test_any_scales_keep_the_outputs(
    name: str, build: Build, compute: Compute, deviation: Deviation, seed: int
) -> None:
    model = _model(build(_text(GRAPHS[name])))
    heads, before, size = _heads(model), compute(model), len(model.graph)
    assert (heads.count, heads.keys) == (4, KEYS.get(name, 4))
    assert rescale(heads, *_scales(heads, seed)) == NODES.get(name, 0) == len(model.graph) - size
    assert deviation(before, compute(model)) < SINGLE


@pytest.mark.parametrize("name", GRAPHS)
@given(seed=seeds)
def test_in_double_precision_the_rewrite_is_exact(
    name: str, build: Build, compute: Compute, deviation: Deviation, seed: int
) -> None:
    model = _model(build(_double(_text(GRAPHS[name]))))
    before = compute(model)
    assert before[0].dtype == np.float64
    _rescaled(model, seed)
    assert deviation(before, compute(model)) < DOUBLE


@pytest.mark.parametrize("name", GRAPHS)
def test_scales_compose(name: str, build: Build, compute: Compute, deviation: Deviation) -> None:
    model = _model(build(_double(_text(GRAPHS[name]))))
    before = compute(model)
    for seed, nodes in enumerate((NODES.get(name, 0), 0, 0)):
        assert _rescaled(model, seed) == nodes
    assert deviation(before, compute(model)) < DOUBLE


@pytest.mark.parametrize("name", GRAPHS)
def test_the_operands_are_divided_by_the_scales(name: str, build: Build, compute: Compute) -> None:
    model = _model(build(_double(_text(GRAPHS[name]))))
    heads = _heads(model)
    scales = _scales(heads, 0)
    before = _tapped(model, list(heads.product.inputs), compute)
    rescale(heads, *scales)
    after = _tapped(model, list(heads.product.inputs), compute)
    for old, new, scale in zip(before, after, scales, strict=True):
        axes = old.shape[1 if old.ndim > 3 else 0 : -2]
        divisor = np.repeat(scale, prod(axes) // len(scale)).reshape(*axes, 1, 1)
        np.testing.assert_allclose(new.astype(np.float64), old.astype(np.float64) / divisor, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", ["pre_norm", "post_norm", "rms_swiglu", "windowed"])
@pytest.mark.parametrize(("opset", "dialect"), [(14, "pytorch"), (11, "paddle")])
def test_transformers_have_heads_in_every_layer(
    name: str, opset: int, dialect: Dialect, compute: Compute, deviation: Deviation
) -> None:
    spec = replace(Transformer(width=16, heads=4, layers=2), opset=opset, dialect=dialect)
    model = _model(BUILDERS[name](spec))
    before, found = compute(model), find_heads(model, find_sites(model))
    assert len(found) == 2
    for heads in found:
        assert isinstance(heads, Heads)
        assert (heads.count, heads.keys) == (4, 4)
        assert rescale(heads, *_scales(heads, 0)) == 0
    assert deviation(before, compute(model)) < SINGLE


@pytest.mark.parametrize("name", REFUSED)
def test_a_product_whose_heads_cannot_be_scaled_says_why(name: str, build: Build) -> None:
    text, reason = REFUSED[name]
    proto = build(_text(text))
    if name == "the op Attention":
        proto.opset_import[0].version, proto.ir_version = 23, 11
    model = _model(proto)
    refused = find_heads(model, find_sites(model))[0]
    assert isinstance(refused, Refused)
    assert refused.kind == "Heads"
    assert reason in refused.reason


@pytest.mark.parametrize("name", GRAPHS)
def test_names_shapes_and_types_survive(name: str, build: Build) -> None:
    model = _model(build(_text(GRAPHS[name])))
    model.graph.name = "kept"
    _rescaled(model, 0)
    assert [value.name for value in model.graph.outputs] == ["y"]
    onnx.checker.check_model(ir.to_proto(model), full_check=True)
    assert all(value.shape is not None and value.type is not None for node in model.graph for value in node.outputs)


@pytest.mark.parametrize("name", GRAPHS)
def test_scales_of_one_change_nothing(name: str, build: Build) -> None:
    model = _model(build(_text(GRAPHS[name])))
    before, heads = ir.to_proto(model), _heads(model)
    assert rescale(heads, np.ones(heads.count), np.ones(heads.keys)) == 0
    assert ir.to_proto(model) == before


@pytest.mark.parametrize(
    ("query", "key"),
    [
        (np.ones(3), np.ones(2)),
        (np.ones(4), np.ones(4)),
        (np.ones((4, 1)), np.ones(2)),
        (np.array([1.0, 0.0, 1.0, 1.0]), np.ones(2)),
        (np.ones(4), np.array([1.0, -2.0])),
        (np.array([1.0, np.inf, 1.0, 1.0]), np.ones(2)),
        (np.ones(4), np.array([1.0, np.nan])),
    ],
)
def test_illegal_scales_change_nothing(query: NDArray[np.float64], key: NDArray[np.float64], build: Build) -> None:
    model = _model(build(_text(GRAPHS["grouped, expanded"])))
    before, heads = ir.to_proto(model), _heads(model)
    with pytest.raises(ValueError, match="scales are needed that are positive and finite"):
        rescale(heads, query, key)
    assert ir.to_proto(model) == before


def test_half_precision_stays_half(build: Build, compute: Compute, deviation: Deviation) -> None:
    numbers = _text(GRAPHS["no factor"]).replace("float small = {0.15}", "float[1] small")
    text = re.sub(r"float(\S* \w+)( = {[^}]*})?", r"float16\1", numbers)
    model = _model(build(text))
    before = compute(model)
    _rescaled(model, 0)
    dtypes = {value.dtype for value in model.graph.initializers.values() if value.uses()}
    assert dtypes == {ir.DataType.FLOAT16, ir.DataType.INT64}
    assert deviation(before, compute(model)) < 0.05


def test_weights_are_scaled_when_they_are_read(build: Build) -> None:
    model = _model(build(_text(GRAPHS["div"])))
    weight = model.graph.initializers["w"].const_value
    assert weight is not None
    original = weight.numpy()
    rescale(_heads(model), np.array([1.0, 2.0, 4.0, 8.0]), np.ones(4))
    lazy = model.graph.initializers["w"].const_value
    assert isinstance(lazy, ir.LazyTensor)
    np.testing.assert_array_equal(lazy.numpy(), original / np.repeat([1, 2, 4, 8], 4))


def test_products_that_share_a_layer_are_scaled_one_by_one(
    build: Build, compute: Compute, deviation: Deviation
) -> None:
    """One layer writes two pairs of queries and keys, each with a product of its own."""
    text = f"""{HEAD.replace("float[16,48] w3", "float[16,64] w3")} {{ {SMALL} f = MatMul(n, w3)
        qb, kb, rb, lb = Split<axis = -1>(f)  {Q[Q.index("qh") :]} {K[K.index("kh") :]} {V} {SCORES}
        rh = Reshape(rb, heads)  rt = Transpose<perm = [0, 2, 1, 3]>(rh)
        lh = Reshape(lb, heads)  lt = Transpose<perm = [0, 2, 3, 1]>(lh)  e = MatMul(rt, lt)  g = Softmax(e)
        h = MatMul(g, dt)  i = ReduceMax<keepdims = 0>(h)  {OUT.replace("y =", "z =")}  y = Add(z, i) }}"""
    model = _model(build(text))
    before, found = compute(model), find_heads(model, find_sites(model))
    assert [item.name for item in found] == ["p", "e"]
    for seed, heads in enumerate(found):
        assert isinstance(heads, Heads)
        rescale(heads, *_scales(heads, seed))
    assert deviation(before, compute(model)) < SINGLE
