"""Every kind of place where a transform can be changed, next to places that look like it and are none."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TypeAlias

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from models.random_graphs import compute_in_double, in_double
from requant.ir.canonical.canonicalize import canonicalize
from requant.ir.channels.find import Refusal, Site, find_sites
from requant.ir.channels.inserted import find_inserted
from requant.ir.load import load
from requant.ir.transform.apply import ChannelTransform, apply_transform
from requant.ir.transform.cost import added_nodes
from requant.runtime.session import runner
from tests.engine import needs

Arrays: TypeAlias = list[NDArray[np.float64]]
Feed: TypeAlias = dict[str, NDArray[np.generic]]
Build: TypeAlias = Callable[[str], onnx.ModelProto]
Compute: TypeAlias = Callable[[ir.Model], list[NDArray[np.generic]]]
Deviation: TypeAlias = Callable[[list[NDArray[np.generic]], list[NDArray[np.generic]]], float]

SINGLE, DOUBLE = 1e-4, 1e-10
"""How far outputs may move, of the largest magnitude."""

seeds = st.integers(0, 2**32 - 1)


@dataclass(frozen=True)
class Case:
    """A graph, all of its sites in graph order, and what must be among the reasons of refusals and blocked shifts.

    A site is written "kind channels: producers -> consumers", with "/" after it where no shift is allowed.
    """

    text: str
    sites: tuple[str, ...] = ()
    reason: str = ""
    opset: int = 17


def _shown(site: Site) -> str:
    producers = " ".join(_name(producer.source.output) for producer in site.producers)
    consumers = " ".join(_name(consumer.linear.output) for consumer in site.consumers)
    return f"{site.kind} {site.channels}: {producers} -> {consumers}".strip() + ("/" if site.shift_blocked else "")


def _name(value: ir.Value) -> str:
    """Return the name in the text, also where a constant factor was folded into the layer."""
    return (value.name or "?").removesuffix(".scaled")


ROWS = """(float[B,4,4] x) => (float[B,T,M] y) <float[4] g, float[4] b, float[4,4] w, float[4,4] v, float[4,4] u,
    float[4,4] o, float[4,8] wide, float[8,4] narrow, float[4,12] triple, float[4] c, float[4] d, float[1] one,
    float[8] h, float[4,4] cos, float[4,4] sin, float[2] head, float zero = {0}, float six = {6}, float half = {0.5},
    float two = {2}, float huge = {300}, float[4] far = {300, 1, 2, 3}, float e = {0.01},
    int64[1] i0 = {0}, int64[1] i1 = {1}, int64[1] i2 = {2}, int64[1] i3 = {3},
    int64[1] end = {99}, int64[1] last = {-1}, int64[6] pads = {0, 1, 0, 0, 1, 0}, int64[4] heads = {0, 0, 2, 2},
    int64[4] queries = {0, 0, 4, 2}, int64[4] whole = {0, 4, 4, 2}, int64[3] back = {0, 0, 4},
    int64[3] wider = {0, 0, 8}, int64[5] parts = {0, 0, 3, 2, 2}, int64[5] groups = {1, 1, 2, 1, 1},
    int64[4] picks = {0, 0, 1, 1}, int64 at0 = {0},
    int64 at1 = {1}, int64 at2 = {2}, int64[4] windows = {0, 2, 2, 4}, int64[3] samples = {-1, 2, 4},
    int64[3] tokens = {-1, 4, 4}"""
IMAGE = """(float[B,4,6,6] x) => (float[B,N,K,M] y) <float[6,4,1,1] w, float[6,4,3,3] w3, float[6,6,1,1] v,
    float[6,6,3,3] v3, float[6,6,1,1] u, float[6,6,1,1] o, float[6,1,3,3] deep, float[6,3,1,1] pair, float[6] c,
    float[6,1,1] s, float zero = {0}, float six = {6}, int64[8] pads = {0, 0, 1, 1, 0, 0, 1, 1},
    float[4] scales = {1, 1, 2, 2}, float[8] part = {0, 0, 0, 0, 1, 1, 2, 2},
    float[4] more = {1, 2, 1, 1}, float[12,4,1,1] w12, float[6,12,1,1] v12"""


def _rows(body: str, *sites: str, reason: str = "", opset: int = 17, more: str = "") -> Case:
    return Case(f"{ROWS}{more}> {{ {body} }}", sites, reason, opset)


def _image(body: str, *sites: str, reason: str = "", opset: int = 17) -> Case:
    return Case(f"{IMAGE}> {{ {body} }}", sites, reason, opset)


Q = "q0 = MatMul(x, w)  q1 = Reshape(q0, heads)  q = Transpose<perm = [0, 2, 1, 3]>(q1)"
K = "k0 = MatMul(x, v)  k1 = Reshape(k0, heads)  k = Transpose<perm = [0, 2, 3, 1]>(k1)"
V = "v0 = MatMul(x, u)  va = Add(v0, c)  v1 = Reshape(va, heads)  vs = Transpose<perm = [0, 2, 1, 3]>(v1)"
SCORES = "s0 = MatMul(q, k)  s = Mul(s0, half)"
P = "p = Softmax<axis = -1>(s)"
OUT = "m0 = MatMul(p, vs)  m1 = Transpose<perm = [0, 2, 1, 3]>(m0)  m = Reshape(m1, back)  y = MatMul(m, o)"


def _after_layers() -> str:
    """Q, K and V as above, of values that are there."""
    return " ".join(part[part.index("  ") :] for part in (Q, K, V))


QK, AV = "QK 4: q0 k0 ->", "Attention 4: va -> y"

# fmt: off
ATTENTION = {
    "attention": _rows(f"{Q} {K} {V} {SCORES} {P} {OUT}", QK, AV),
    "attention, masked": _rows(
        f"{Q} {K} {V} s1 = MatMul(q, k)  s2 = Div(s1, two)  s = Add(s2, cos)  {P} {OUT}", QK, AV),
    "attention, dropout": _rows(f"{Q} {K} {V} {SCORES} p0 = Softmax<axis = 3>(s)  p = Dropout(p0)  {OUT}", QK, AV),
    "attention without heads": _rows(
        "q = MatMul(x, w)  k0 = MatMul(x, v)  k = Transpose<perm = [0, 2, 1]>(k0)  va = MatMul(x, u)  s = MatMul(q, k)"
        f"  {P}  m = MatMul(p, va)  y = MatMul(m, o)", "QK 4: q k0 ->", AV),
    "one layer, split": _rows(
        f"f = MatMul(x, triple)  q0, k0, v0 = Split<axis = -1>(f)  {_after_layers()} {SCORES} {P} {OUT}",
        "QK 4: f ->", "Attention 4: f -> y"),
    "one layer, gathered": _rows(
        "f = MatMul(x, triple)  r = Reshape(f, parts)  t = Transpose<perm = [2, 0, 3, 1, 4]>(r)"
        "  q = Gather<axis = 0>(t, at0)  k1 = Gather<axis = 0>(t, at1)  vs = Gather<axis = 0>(t, at2)"
        f"  k = Transpose<perm = [0, 1, 3, 2]>(k1) {SCORES} {P} {OUT}", "QK 4: f ->", "Attention 4: f -> y"),
    "keys that are values": _rows(
        f"{Q} {K} vs = Transpose<perm = [0, 1, 3, 2]>(k)  {SCORES} {P} {OUT}", "QK 4: q0 k0 -> y"),
    "scaled keys": _rows(f"{Q} {K} {V} ks = Mul(k, half)  s = MatMul(q, ks)  {P} {OUT}", QK, AV),
    "scaled values": _rows(
        f"{Q} {K} {V} {SCORES} {P} {OUT}".replace("m0 = MatMul(p, vs)", "z = Mul(vs, huge)  m0 = MatMul(p, z)"), QK,
        AV + "/", reason="the shift reaches 'y' scaled"),
    "keys normalized before": _rows(
        f"n = LayerNormalization(x, g, b)  {Q} {K.replace('(x', '(n')} {V} {SCORES} {P} {OUT}", "LayerNorm 4: n -> k0",
        QK, AV),
    "values without a projection": _rows(
        f"n = LayerNormalization(x, g, b)  {Q} {K}  v1 = Reshape(n, heads)  vs = Transpose<perm = [0, 2, 1, 3]>(v1)"
        f"  {SCORES} {P} {OUT}", "LayerNorm 4: n -> y", QK),
    "no softmax": _rows(f"{Q} {K} {V} {SCORES} p = Relu(s)  {OUT}", QK + "/", AV + "/", reason="do not sum to 1"),
    "softmax over columns": _rows(f"{Q} {K} {V} {SCORES} p = Softmax<axis = 2>(s)  {OUT}", QK + "/", AV + "/",
        reason="do not go straight into a softmax over rows"),
    "guarded softmax": _rows(
        f"{Q} {K} {V} {SCORES} p0 = Softmax<axis = -1>(s)  bad = IsNaN(p0)  p = Where(bad, zero, p0)  {OUT}", QK,
        AV + "/", reason="do not sum to 1"),
    "masked by Where": _rows(f"{Q} {K} {V} s0 = MatMul(q, k)  m9 = Less(cos, zero)  s = Where(m9, zero, s0)  {P} {OUT}",
        QK + "/", AV, reason="do not go straight into a softmax over rows"),
    "capped scores": _rows(
        f"{Q} {K} {V} {SCORES} t = Tanh(s)  p = Softmax(t)  {OUT}", QK + "/", AV, reason="straight into a softmax"),
    "scores made integers": _rows(
        f"{Q} {K} {V} {SCORES.replace('s = ', 'sa = ')}  sb = Cast<to = 6>(sa)  sc = Cast<to = 1>(sb)  p = Softmax(sc)"
        f"  {OUT}", QK + "/", AV, reason="straight into a softmax"),
    "scores that are read": _rows(
        f"{Q} {K} {V} {SCORES} {P} {OUT.replace('y = ', 'z = ')}  r = ReduceMax(s0)  y = Add(z, r)", QK + "/",
        "Attention 4: va -> z", reason="straight into a softmax"),
    "values that are an output": Case(
        f"{ROWS.replace('M] y)', 'M] y, float[B,N,L] va)')}> {{ {Q} {K} {V} {SCORES} {P} {OUT} }}",
        (QK,),
        "'va' is an output",
    ),
    "values that are read": _rows(
        f"{Q} {K} {V} {SCORES} {P} {OUT.replace('y = ', 'z = ')}  r = Tanh(va)  y = Add(z, r)", QK,
        reason="Tanh 'r' does not commute"),
    "attention that is read": _rows(
        f"{Q} {K} {V} {SCORES} {P} {OUT.replace('y = ', 'z = ')}  r = Sigmoid(m)  y = Add(z, r)", QK,
        reason="has a consumer that cannot absorb the transform"),
    "queries that are read": _rows(
        f"{Q} {K} {V} {SCORES} {P} {OUT.replace('y = ', 'z = ')}  r = Tanh(q0)  y = Add(z, r)", "Attention 4: va -> z"),
    "queries that are keys": _rows(f"{Q} k = Transpose<perm = [0, 1, 3, 2]>(q)  {V} {SCORES} {P} {OUT}", AV),
    "queries of the keys' weights": _rows(f"a = Tanh(x)  {Q} {K.replace('(x, v', '(a, w')} {V} {SCORES} {P} {OUT}", AV),
    "keys that are another's queries": _rows(
        "a = MatMul(x, w)  b0 = MatMul(x, v)  c0 = MatMul(x, u)  b1 = Transpose<perm = [0, 2, 1]>(b0)"
        f"  s = MatMul(a, b1)  {P}  c1 = Transpose<perm = [0, 2, 1]>(c0)  r = MatMul(b0, c1)"
        "  z = Softmax(r)  y = Add(p, z)", "QK 4: a b0 c0 ->/"),
    "normalized queries": _rows(
        f"{Q.replace(' q = ', ' qt = ')} {K} {V}  q9 = Pow(qt, two)  q8 = ReduceMean<axes = [-1]>(q9)  q7 = Add(q8, e)"
        f"  q6 = Sqrt(q7)  q5 = Div(qt, q6)  q = Mul(q5, head)  {SCORES} {P} {OUT}", "QK 2: k0 q ->", AV),
}
"""Q, K and V."""

Q4 = "q0 = MatMul(x, wide)  q1 = Reshape(q0, queries)  q = Transpose<perm = [0, 2, 1, 3]>(q1)"
K2 = "k0 = MatMul(x, v)  k1 = Reshape(k0, heads)  k2 = Transpose<perm = [0, 2, 1, 3]>(k1)"
GROUPED = f"{Q4} {K2} {V} {{0}} k = Transpose<perm = [0, 1, 3, 2]>(kr)  {SCORES} {P} " + OUT.replace(
    "vs)", "vr)"
).replace("back", "wider").replace("(m, o)", "(m, narrow)")
REPEATS = {
    "expand": "k3 = Unsqueeze(k2, i2)  k4 = Expand(k3, groups)  kr = Reshape(k4, whole)"
    "  v3 = Unsqueeze(vs, i2)  v4 = Expand(v3, groups)  vr = Reshape(v4, whole)",
    "tile": "k3 = Unsqueeze(k2, i2)  k4 = Tile(k3, groups)  kr = Reshape(k4, whole)"
    "  v3 = Unsqueeze(vs, i2)  v4 = Tile(v3, groups)  vr = Reshape(v4, whole)",
    "concat": "k3 = Unsqueeze(k2, i2)  k4 = Concat<axis = 2>(k3, k3)  kr = Reshape(k4, whole)"
    "  v3 = Unsqueeze(vs, i2)  v4 = Concat<axis = 2>(v3, v3)  vr = Reshape(v4, whole)",
    "gather": "kr = Gather<axis = 1>(k2, picks)  vr = Gather<axis = 1>(vs, picks)",
    "heads in turn": "kr = Concat<axis = 1>(k2, k2)  vr = Tile(vs, turns)",
}
GROUPS = {
    f"grouped, {name}": _rows(
        GROUPED.format(repeat).replace("  va = Add(v0, c)", "").replace("Reshape(va", "Reshape(v0"),
        QK,
        "Attention 4: v0 -> y",
        more=", int64[4] turns = {1, 2, 1, 1}",
    )
    for name, repeat in REPEATS.items()
}
"""Heads that share keys and values have one transform."""

TURN = "{0}c = Mul({0}0, cos)  {0}s = Mul({0}r, sin)  {0} = Add({0}c, {0}s)"
HALVES = "{0}1, {0}2 = Split<axis = -1>({0}0)  {0}n = Neg({0}2)  {0}r = Concat<axis = -1>({0}n, {0}1)  " + TURN
SLICES = (
    "{0}1 = Slice({0}0, i0, i2, i2)  {0}2 = Slice({0}0, i2, end, i2)  {0}n = Neg({0}2)"
    "  {0}r = Concat<axis = -1>({0}n, {0}1)  "
) + TURN
PAIRS = (
    "{0}1 = Slice({0}0, i0, end, i2, i2)  {0}2 = Slice({0}0, i1, end, i2, i2)  {0}n = Neg({0}2)"
    "  {0}3 = Unsqueeze({0}n, i3)  {0}4 = Unsqueeze({0}1, i3)  {0}5 = Concat<axis = -1>({0}3, {0}4)"
    "  {0}r = Reshape({0}5, back)  "
) + TURN
PARTS = "{0}a, {0}b = Split<axis = -1>({0}w)  " + HALVES + "  {0}z = Concat<axis = -1>({0}, {0}b)"


def _turned(rotary: str) -> str:
    return (
        f"q0 = MatMul(x, w)  k0 = MatMul(x, v)  {rotary.format('q')}  {rotary.format('k')}"
        f"  kt = Transpose<perm = [0, 2, 1]>(k)  s = MatMul(q, kt)  {P}  y = MatMul(p, x)"
    )


ROTARY = {
    "rotated halves": _rows(_turned(HALVES), "QK 2: q0 k0 ->/", reason="with a per-channel shift"),
    "rotated halves, sliced": _rows(_turned(SLICES), "QK 2: q0 k0 ->/", reason="with a per-channel shift"),
    "rotated pairs": _rows(_turned(PAIRS), "QK 2: q0 k0 ->/", reason="with a per-channel shift"),
    "rotated queries alone": _rows(
        f"q0 = MatMul(x, w)  k0 = MatMul(x, v)  {HALVES.format('q')}  kt = Transpose<perm = [0, 2, 1]>(k0)"
        f"  s = MatMul(q, kt)  {P}  y = MatMul(p, x)", "QK 2: q0 k0 ->"),
}
"""A pair of channels that is rotated has one scale."""

OPS = {
    "Attention of three axes": _rows("q = MatMul(x, w)  k = MatMul(x, v)  v0 = MatMul(x, u)"
        "  m = Attention<q_num_heads = 2, kv_num_heads = 2>(q, k, v0)  y = MatMul(m, o)", "QK 4: q k ->",
        "Attention 4: v0 -> y", opset=23),
    "Attention of four axes": _rows(
        f"{Q} {K2} {V} m0 = Attention(q, k2, vs)  m1 = Transpose<perm = [0, 2, 1, 3]>(m0)  m = Reshape(m1, back)"
        "  y = MatMul(m, o)", QK, AV, opset=23),
    "Attention in groups": _rows("q = MatMul(x, wide)  k = MatMul(x, v)  v0 = MatMul(x, u)"
        "  m = Attention<q_num_heads = 4, kv_num_heads = 2>(q, k, v0)  y = MatMul(m, narrow)", "QK 4: q k ->",
        "Attention 4: v0 -> y", opset=23),
    "Attention in groups, four axes": _rows(
        f"{Q4} {K2} {V} m0 = Attention(q, k2, vs)  m1 = Transpose<perm = [0, 2, 1, 3]>(m0)  m = Reshape(m1, wider)"
        "  y = MatMul(m, narrow)", QK, AV, opset=23),
    "Attention, causal": _rows("q = MatMul(x, w)  k = MatMul(x, v)  v0 = MatMul(x, u)"
        "  m = Attention<q_num_heads = 2, kv_num_heads = 2, is_causal = 1>(q, k, v0)  y = MatMul(m, o)",
        "QK 4: q k ->", "Attention 4: v0 -> y", opset=23),
    "Attention, capped": _rows("q = MatMul(x, w)  k = MatMul(x, v)  v0 = MatMul(x, u)"
        "  m = Attention<q_num_heads = 2, kv_num_heads = 2, softcap = 3.0>(q, k, v0)  y = MatMul(m, o)",
        "QK 4: q k ->/", "Attention 4: v0 -> y", reason="do not go straight into a softmax", opset=23),
    "Attention with a row that is masked whole": _rows("q = MatMul(x, w)  k = MatMul(x, v)  v0 = MatMul(x, u)"
        "  m = Attention<q_num_heads = 2, kv_num_heads = 2>(q, k, v0, mask)  y = MatMul(m, o)", "QK 4: q k ->",
        "Attention 4: v0 -> y/", reason="mask", opset=23,
        more=", bool[4,4] mask = {1, 1, 1, 1, 0, 0, 0, 0, 1, 0, 1, 0, 1, 1, 0, 1}"),
    "Attention of one channel": _rows("q = MatMul(x, w)  k0 = MatMul(x, column)  k = Expand(k0, full)"
        "  m = Attention<q_num_heads = 2, kv_num_heads = 2>(q, k, k)  y = MatMul(m, o)", reason="", opset=23,
        more=", float[4,1] column, int64[3] full = {1, 1, 4}"),
    "Attention, read": _rows("q = MatMul(x, w)  k = MatMul(x, v)  v0 = MatMul(x, u)"
        "  m = Attention<q_num_heads = 2, kv_num_heads = 2>(q, k, v0)  y = Tanh(m)", "QK 4: q k ->", opset=23),
    "Attention of an input": _rows(
        "k = MatMul(x, v)  v0 = MatMul(x, u)  m = Attention<q_num_heads = 2, kv_num_heads = 2>(x, k, v0)"
        "  y = MatMul(m, o)", "Attention 4: v0 -> y", opset=23),
    "RotaryEmbedding of four axes": _rows(
        f"{Q} {K2} {V} qr = RotaryEmbedding(q, cosine, sine)  kr = RotaryEmbedding(k2, cosine, sine)"
        "  m0 = Attention(qr, kr, vs)  m1 = Transpose<perm = [0, 2, 1, 3]>(m0)  m = Reshape(m1, back)"
        "  y = MatMul(m, o)", "QK 2: q0 k0 ->/", AV, reason="rotates the shift", opset=23,
        more=", float[2,4,1] cosine, float[2,4,1] sine"),
    "RotaryEmbedding of three axes": _rows(
        "q = MatMul(x, w)  k = MatMul(x, v)  v0 = MatMul(x, u)  qr = RotaryEmbedding<num_heads = 1>(q, cosine, sine)"
        "  kr = RotaryEmbedding<num_heads = 1, interleaved = 1>(k, cosine, sine)"
        "  m = Attention<q_num_heads = 1, kv_num_heads = 1>(qr, kr, v0)  y = MatMul(m, o)", "QK 1: q k ->/",
        "Attention 4: v0 -> y", opset=23, more=", float[2,4,2] cosine, float[2,4,2] sine"),
}
"""Attention and rotary embeddings as ops of opset 23."""

CONTRIB = {
    "MultiHeadAttention": _rows("q = MatMul(x, w)  k = MatMul(x, v)  v0 = MatMul(x, u)"
        "  m = com.microsoft.MultiHeadAttention<num_heads = 2>(q, k, v0)  y = MatMul(m, o)", "QK 4: q k ->",
        "Attention 4: v0 -> y", more=", float[B,T,4] m"),
    "MultiHeadAttention with a bias": _rows("q = MatMul(x, w)  k = MatMul(x, v)  v0 = MatMul(x, u)"
        "  m = com.microsoft.MultiHeadAttention<num_heads = 2>(q, k, v0, bias)  y = MatMul(m, o)", "QK 4: q k ->",
        "Attention 4: v0 -> y", more=", float[B,T,4] m, float[12] bias"),
    "MultiHeadAttention on norms": _rows(
        "n = LayerNormalization(x, g, b)  v0 = MatMul(n, u)  nv = LayerNormalization(v0, g, b)  z = MatMul(nv, v)"
        "  m = com.microsoft.MultiHeadAttention<num_heads = 2>(x, n, nv, bias)  t = Tanh(m)  y = Add(t, z)",
        "LayerNorm 4: n -> v0", "LayerNorm 4: nv -> z", more=", float[B,T,4] m, float[12] bias"),
}
"""ONNX Runtime's attention."""

GATES = {
    "SwiGLU": _rows(
        "a = MatMul(x, w)  s = Sigmoid(a)  g1 = Mul(a, s)  up = MatMul(x, v)  h0 = Mul(g1, up)  y = MatMul(h0, o)",
        "GatedMLP 4: up -> y/", reason="scales the shift"),
    "GeGLU": _rows(
        "a = MatMul(x, w)  s = Erf(a)  g1 = Mul(a, s)  up0 = MatMul(x, v)  up = Add(up0, c)  h0 = Mul(up, g1)"
        "  y = MatMul(h0, o)", "GatedMLP 4: up -> y/", reason="scales the shift"),
    "ReGLU": _rows("a = MatMul(x, w)  r = Relu(a)  up = MatMul(x, v)  h0 = Mul(r, up)  y = MatMul(h0, o)",
        "GatedMLP 4: a -> y/", reason="with a per-channel shift"),
    "one layer, SwiGLU": _rows(
        "f0 = MatMul(x, wide)  a, up = Split<axis = -1>(f0)  s = Sigmoid(a)  g1 = Mul(a, s)  h0 = Mul(g1, up)"
        "  y = MatMul(h0, o)", "GatedMLP 4: f0 -> y/", reason="scales the shift"),
    "up that is read": _rows(
        "a = MatMul(x, w)  s = Sigmoid(a)  up = MatMul(x, v)  h0 = Mul(s, up)  z = MatMul(h0, o)  r = Tanh(up)"
        "  y = Add(z, r)", reason="Sigmoid"),
    "square": _rows("a = MatMul(x, w)  r = Mul(a, a)  y = MatMul(r, o)", reason="multiplies the value by itself"),
    "one factor": _rows("a = MatMul(x, w)  r = Mul(a, huge)  y = MatMul(r, o)", "Linear 4: a -> y/",
        reason="the shift reaches 'y' scaled"),
    "divided": _rows(
        "a = MatMul(x, w)  r = Div(a, far)  y = MatMul(r, o)", "GatedMLP 4: a -> y/", reason="scales the shift"),
    "divisor": _rows("a = MatMul(x, w)  m = Abs(a)  t = Add(m, half)  r = Div(g, t)  y = MatMul(r, o)",
        reason="Div 'r' does not commute"),
}
"""Products."""

LAYERS = {
    "MatMul": _rows("a = MatMul(x, w)  y = MatMul(a, v)", "Linear 4: a -> y"),
    "MatMul with a bias": _rows(
        "a0 = MatMul(x, w)  a = Add(c, a0)  z = MatMul(a, v)  y = Add(z, d)", "Linear 4: a -> y"),
    "MatMul with one bias for all": _rows("a0 = MatMul(x, w)  a = Add(a0, one)  y = MatMul(a, v)", "Linear 4: a -> y"),
    "MatMul with a scalar bias": _rows("a0 = MatMul(x, w)  a = Add(half, a0)  y = MatMul(a, v)", "Linear 4: a -> y"),
    "several consumers": _rows(
        "a = MatMul(x, w)  r = Relu(a)  y1 = MatMul(r, v)  y2 = MatMul(a, u)  y = Add(y1, y2)",
        "Linear 4: a -> y1 y2/"),
    "producers that share a weight": _rows(
        "t = Tanh(x)  a = MatMul(x, w)  e1 = MatMul(t, w)  y1 = MatMul(a, v)  y2 = MatMul(e1, u)  y = Mul(y1, y2)",
        "Linear 4: a e1 -> y1 y2"),
    "one of them that is read": _rows(
        "t = Tanh(x)  a = MatMul(x, w)  e1 = MatMul(t, w)  y1 = MatMul(a, v)  y2 = Sin(e1)  y = Mul(y1, y2)",
        reason="Sin"),
    "consumers that share a weight": _rows(
        "t = Tanh(x)  a = MatMul(x, w)  e1 = MatMul(t, v)  y1 = MatMul(a, o)  y2 = MatMul(e1, o)  y = Mul(y1, y2)",
        "Linear 4: a e1 -> y1 y2"),
    "one weight all along": _rows(
        "n = LayerNormalization(x, g)  a = MatMul(n, w)  e1 = MatMul(a, w)  y = MatMul(e1, w)",
        reason="'y' is an output"),
    "one weight writes and reads": _rows(
        "n = LayerNormalization(x, g)  a = MatMul(n, w)  e1 = MatMul(a, w)  y = MatMul(e1, v)",
        "LayerNorm 4: n a e1 -> a e1 y"),
    "transposed product": _rows(
        "a = MatMul(x, w)  t = Transpose<perm = [0, 2, 1]>(a)  y = MatMul(t, v)", reason="along another axis"),
    "tokens mixed by a constant": _rows(
        "a = MatMul(x, w)  t = MatMul(cos, a)  y = MatMul(t, v)", "Attention 4: a -> y/"),
    "scaled where a transform stops": _rows(
        "n = LayerNormalization(x, g, b)  m = Mul(n, half)  t = Transpose<perm = [0, 2, 1]>(m)  e1 = MatMul(t, u)"
        "  a = MatMul(n, w)  y = Add(e1, a)", "LayerNorm 4: n -> a/", reason="scaled"),
    "mean over tokens": _rows("a = MatMul(x, w)  t = ReduceMean<axes = [1]>(a)  y = MatMul(t, v)", "Linear 4: a -> y"),
    "largest token": _rows("a = MatMul(x, w)  t = ReduceMax<axes = [1]>(a)  y = MatMul(t, v)", "Linear 4: a -> y"),
    "sum over tokens": _rows(
        "a = MatMul(x, w)  t = ReduceSum(a, i1)  y = MatMul(t, v)", "Linear 4: a -> y/", reason="sums the shift"),
    "mean over channels": _rows(
        "a = MatMul(x, w)  t = ReduceMean<axes = [2]>(a)  z = MatMul(a, v)  y = Add(t, z)", reason="'y' is an output"),
    "mean over everything": _rows(
        "a = MatMul(x, w)  t = ReduceMean(a)  z = MatMul(a, v)  y = Add(t, z)", reason="'y' is an output"),
}
"""Linear layers one after the other."""

PLANE = """(float[B,4] x) => (float[B,M] y) <float[4,4] w, float[4,4] v, float[4] c, float[1,4] d, float[1] one"""


def _plane(body: str, *sites: str, reason: str = "") -> Case:
    return Case(f"{PLANE}> {{ {body} }}", sites, reason)


GEMMS = {
    "Gemm": _plane("a = Gemm(x, w, c)  y = Gemm(a, v, d)", "Linear 4: a -> y"),
    "Gemm without a bias": _plane("a = Gemm(x, w)  y = Gemm(a, v)", "Linear 4: a -> y"),
    "Gemm, transposed": _plane("a = Gemm<transB = 1>(x, w, d)  y = Gemm<transB = 1>(a, v)", "Linear 4: a -> y"),
    "Gemm with factors": _plane(
        "a = Gemm<alpha = 0.5, beta = 2.0>(x, w, c)  y = Gemm<alpha = 3.0, beta = 0.25>(a, v, c)", "Linear 4: a -> y"),
    "Gemm with factors, without a bias": _plane(
        "a = Gemm<alpha = 0.5, beta = 2.0>(x, w)  y = Gemm<alpha = 3.0, beta = 0.25>(a, v)", "Linear 4: a -> y"),
    "Gemm with one bias for all": _plane("a = Gemm(x, w, one)  r = Relu(a)  y = Gemm(r, v, one)", "Linear 4: a -> y/"),
    "Gemm that ignores its bias": _plane("a = Gemm(x, w, c)  y = Gemm<beta = 0.0>(a, v, c)", "Linear 4: a -> y"),
    "Gemm of a transposed value": _plane(
        "a = MatMul(x, w)  t = Transpose(a)  r = Gemm<transA = 1>(t, v)  y = Relu(r)", "Linear 4: a -> r"),
    "a weight shared along two axes": _plane(
        "a = Gemm(x, w)  r = Tanh(x)  e = Gemm<transB = 1>(r, w)  y1 = Gemm(a, v)  y2 = Gemm(e, v)  y = Mul(y1, y2)",
        reason="along different axes"),
}
"""Layers over values of two axes."""

PASSING = {"Relu(a)": "", "LeakyRelu(a)": "", "PRelu(a, c)": "", "Abs(a)": "", "Neg(a)": "", "Clip(a, zero)": ""}
BLOCKING = {
    "Clip(a, zero, six)": "a bound other than 0", "Clip(a, six)": "a bound other than 0", "Sigmoid(a)": "Sigmoid",
    "Tanh(a)": "Tanh", "HardSwish(a)": "HardSwish", "Erf(a)": "Erf", "Gelu(a)": "Gelu", "Softmax(a)": "Softmax",
    "Elu(a)": "Elu", "Softplus(a)": "Softplus", "Pow(a, two)": "Pow", "CumSum(a, at1)": "CumSum",
    "ThresholdedRelu(a)": "ThresholdedRelu", "LayerNormalization(a, g)": "",
}  # fmt: skip
ACTIVATIONS = {
    **{
        op: _rows(f"a = MatMul(x, w)  r = {op}  y = MatMul(r, v)", "Linear 4: a -> y/", reason="a per-channel shift")
        for op in PASSING
    },
    **{
        op: _rows(
            f"a = MatMul(x, w)  r = {op}  y = MatMul(r, v)",
            *(["LayerNorm 4: r -> y"] if "Norm" in op else []),
            reason=reason,
            opset=20,
        )
        for op, reason in BLOCKING.items()
    },
}
"""What comes between two layers."""

MOVES = {
    "zero pad": _rows("n = LayerNormalization(x, g, b)  r = Pad(n, pads)  y = MatMul(r, w)", "LayerNorm 4: n -> y/",
        reason="pads with zeros"),
    "reflected pad": _rows(
        'n = LayerNormalization(x, g, b)  r = Pad<mode = "reflect">(n, pads)  y = MatMul(r, w)', "LayerNorm 4: n -> y"),
    "edge pad": _rows(
        'n = LayerNormalization(x, g, b)  r = Pad<mode = "edge">(n, pads)  y = MatMul(r, w)', "LayerNorm 4: n -> y"),
    "pad with ones": _rows(
        "n = LayerNormalization(x, g, b)  r = Pad(n, pads, half)  y = MatMul(r, w)", reason="values other than zero"),
    "pad with what is computed": _rows(
        "n = LayerNormalization(x, g, b)  z = ReduceMax<keepdims = 0>(x)  r = Pad(n, pads, z)  y = MatMul(r, w)",
        reason="values other than zero"),
    "patch merging": _rows(
        "n = LayerNormalization(x, g, b)  e1 = Slice(n, i0, end, i1, i2)  e2 = Slice(n, i1, end, i1, i2)"
        "  r = Concat<axis = -1>(e1, e2)  y = MatMul(r, narrow)", "LayerNorm 4: n -> y"),
    "patch merging before the norm": _rows(
        "e1 = Slice(x, i0, end, i1, i2)  e2 = Slice(x, i1, end, i1, i2)  r = Concat<axis = -1>(e1, e2)"
        "  n = LayerNormalization(r, h)  y = MatMul(n, narrow)", "LayerNorm 8: n -> y"),
    "windows": _rows("n = LayerNormalization(x, g, b)  r = Reshape(n, windows)  t = Transpose<perm = [0, 2, 1, 3]>(r)"
        "  s = Reshape(t, samples)  y0 = MatMul(s, w)  y = Reshape(y0, tokens)", "LayerNorm 4: n -> y0"),
    "cyclic shift": _rows("n = LayerNormalization(x, g, b)  e1 = Slice(n, i1, end, i1)  e2 = Slice(n, i0, i1, i1)"
        "  r = Concat<axis = 1>(e1, e2)  y = MatMul(r, w)", "LayerNorm 4: n -> y"),
    "joined with an untransformed value": _rows(
        "a = MatMul(x, w)  s = Tanh(x)  r = Concat<axis = -1>(s, a)  y = MatMul(r, narrow)", "Linear 4: a -> y"),
    "joined with another": _rows(
        "a = MatMul(x, w)  e1 = MatMul(x, v)  r = Concat<axis = -1>(e1, a)  y = MatMul(r, narrow)",
        "Linear 8: a e1 -> y"),
    "in line with another value": _rows("a = MatMul(x, w)  s = Tanh(x)  r = Concat<axis = 1>(s, a)  y = MatMul(r, v)",
        reason="joins parts with different channels"),
    "tokens of one transform": _rows(
        "a = MatMul(x, w)  e1 = MatMul(x, v)  z = Add(a, e1)  r = Concat<axis = 1>(z, a)  y = MatMul(r, u)",
        reason="joins parts with different channels"),
    "one half that is read": _rows(
        "a = MatMul(x, wide)  e1, e2 = Split<axis = -1>(a)  s = Tanh(e2)  z = MatMul(e1, v)  y = Add(z, s)",
        "Linear 4: a -> z"),
}
"""Values that are moved between a producer and a consumer."""

IMAGES = {
    "Conv": _image("a = Conv(x, w)  y = Conv(a, v)", "Linear 6: a -> y"),
    "Conv with a bias": _image("a = Conv(x, w, c)  y = Conv(a, v3, c)", "Linear 6: a -> y"),
    "Conv with a bias after it": _image("a = Conv(x, w)  r = Add(a, s)  y = Conv(r, v3)", "Linear 6: r -> y"),
    "padded Conv": _image("a = Conv(x, w3, c)  y = Conv<pads = [1, 1, 1, 1]>(a, v3)", "Linear 6: a -> y/",
        reason="pads its input with zeros"),
    "Conv in groups": _image("a = Conv(x, w)  y = Conv<group = 2>(a, pair)", "Linear 6: a -> y"),
    "chain of depthwise Conv": _image(
        "a = Conv(x, w, c)  r = Relu(a)  d = Conv<group = 6, pads = [1, 1, 1, 1]>(r, deep, c)  e = Relu(d)"
        "  y = Conv(e, v)", "Linear 6: a -> d/", "Linear 6: d -> y/"),
    "depthwise Conv in a row": _image(
        "a = Conv(x, w)  d = Conv<group = 6>(a, deep)  e = Conv<group = 6>(d, deep)  y = Conv(e, v)",
        "Linear 6: a d e -> d e y"),
    "MaxPool": _image(
        "a = Conv(x, w)  r = MaxPool<kernel_shape = [3, 3], pads = [1, 1, 1, 1]>(a)  y = Conv(r, v)",
        "Linear 6: a -> y"),
    "AveragePool": _image(
        "a = Conv(x, w)  r = AveragePool<kernel_shape = [3, 3], pads = [1, 1, 1, 1]>(a)  y = Conv(r, v)",
        "Linear 6: a -> y"),
    "AveragePool that counts zeros": _image(
        "a = Conv(x, w)  r = AveragePool<kernel_shape = [3, 3], pads = [1, 1, 1, 1], count_include_pad = 1>(a)"
        "  y = Conv(r, v)", "Linear 6: a -> y/", reason="includes the zeros of its padding"),
    "AveragePool that counts zeros of its own": _image(
        'a = Conv(x, w)  r = AveragePool<kernel_shape = [3, 3], auto_pad = "SAME_UPPER", count_include_pad = 1>(a)'
        "  y = Conv(r, v)", "Linear 6: a -> y/", reason="includes the zeros of its padding"),
    "GlobalAveragePool": _image("a = Conv(x, w)  r = GlobalAveragePool(a)  y = Conv(r, v)", "Linear 6: a -> y"),
    "GlobalMaxPool": _image("a = Conv(x, w)  r = GlobalMaxPool(a)  y = Conv(r, v)", "Linear 6: a -> y"),
    "Resize": _image('a = Conv(x, w)  r = Resize<mode = "linear">(a, , scales)  y = Conv(r, v)', "Linear 6: a -> y"),
    "Resize that crops": _image(
        'a = Conv(x, w)  r = Resize<mode = "linear", coordinate_transformation_mode = "tf_crop_and_resize">'
        "(a, part, scales)  y = Conv(r, v)", reason="extrapolates with a constant"),
    "Resize of the channels": _image(
        "a = Conv(x, w)  r = Resize(a, , more)  e = Conv(x, w12)  z = Add(r, e)  y = Conv(z, v12)", reason=""),
    "padded image": _image(
        "a = Conv(x, w)  r = Pad(a, pads)  y = Conv(r, v3)", "Linear 6: a -> y/", reason="pads with zeros"),
    "squeeze and excitation": _image(
        "a = Conv(x, w)  r = GlobalAveragePool(a)  e = Conv(r, u)  s0 = Sigmoid(e)  m = Mul(a, s0)  y = Conv(m, v)",
        "GatedMLP 6: a -> e y/", reason="scales the shift"),
    "residual": _image(
        "a = Conv(x, w)  d = Conv(a, v, c)  r = Relu(d)  e = Conv(r, u)  z = Add(a, e)  t = Relu(z)  y = Conv(t, o)",
        "Linear 6: a e -> d y/", "Linear 6: d -> e/", reason="combines the shifts"),
    "residual with a consumer that does not commute": _image(
        "a = Conv(x, w)  d = Conv(a, v, c)  r = Relu(d)  e = Conv(r, u)  z = Add(a, e)  t = Sigmoid(z)  y = Conv(t, o)",
        "Linear 6: d -> e/", reason="Sigmoid 't' does not commute"),
    "affine behind an activation": _image(
        "a = Conv(x, w)  h = Sigmoid(a)  m = Mul(six, h)  y = Conv(m, v)", reason="Sigmoid 'h' does not commute"),
    "residual of an input": _image(
        "a = Conv(x, w)  q = Tanh(a)  d = Conv(q, v, c)  z = Add(q, d)  y = Conv(z, o)", reason="share its transform"),
}
"""Convolutions."""

EMBEDDINGS = {
    "embedding": _rows("a = Gather(table, n)  y = MatMul(a, w)", "Embedding 4: a -> y", more=", float[7,4] table"),
    "embedding with positions": _rows(
        "a = Gather(table, n)  r = Add(a, cos)  y = MatMul(r, w)", "Embedding 4: a -> y", more=", float[7,4] table"),
    "two embeddings": _rows(
        "a = Gather(table, n)  e1 = Gather(kinds, n)  r = Add(a, e1)  s = Add(sin, r)  y = MatMul(s, w)",
        "Embedding 4: a e1 -> y/", reason="combines the shifts", more=", float[7,4] table, float[7,4] kinds"),
    "embedding used twice": _rows(
        "a = Gather(table, n)  i = Neg(n)  e1 = Gather(table, i)  y1 = MatMul(a, w)  y2 = MatMul(e1, v)"
        "  y = Add(y1, y2)", "Embedding 4: a e1 -> y1 y2", more=", float[7,4] table"),
    "embedding that is the head": _rows(
        "a = Gather(table, n)  z = MatMul(a, w)  t = Reshape(z, flat)  y0 = Gemm<transB = 1>(t, table)"
        "  y = Reshape(y0, rows)", reason="'table' is also read by 'a'",
        more=", float[4,4] table, int64[2] flat = {-1, 4}, int64[3] rows = {-1, 4, 4}"),
    "embedding in a residual": _rows(
        "a = Gather(table, n)  z = MatMul(a, w)  r = Add(a, z)  y = LayerNormalization(r, g)", reason="",
        more=", float[7,4] table"),
}
EMBEDDINGS = {
    name: Case(case.text.replace("(float[B,4,4] x)", "(int64[B,4] n)"), case.sites, case.reason, case.opset)
    for name, case in EMBEDDINGS.items()
}
"""Rows of tables."""

# fmt: on
CASES = {
    **ATTENTION,
    **GROUPS,
    **ROTARY,
    **OPS,
    **CONTRIB,
    **GATES,
    **LAYERS,
    **GEMMS,
    **ACTIVATIONS,
    **MOVES,
    **IMAGES,
    **EMBEDDINGS,
}  # fmt: skip
ADDED: dict[str, tuple[str, int]] = {
    "merged": ("p = MatMul(n, w)  q = Add(p, c)  y = Add(q, n)", 1),
    "merged, in any order": ("p = MatMul(n, w)  q = Add(c, p)  y = Add(n, q)", 1),
    "merged into another layer": (
        "p = MatMul(n, w)  q = Add(p, c)  r = Tanh(q)  s = MatMul(r, v)  t = Add(s, d)  y = Add(n, t)",
        1,
    ),
    "read twice": ("p = MatMul(n, w)  q = Add(p, c)  r = Add(q, n)  y = Mul(r, q)", 2),
    "an output": ("p = MatMul(n, w)  q = Add(p, c)  y = Add(q, n)", 2),
    "no bias": ("p = MatMul(n, w)  y = Add(p, n)", 3),
    "no linear": ("p = MatMul(n, w)  q = Add(p, c)  r = Tanh(q)  y = Add(r, n)", 2),
    "subtracted": ("p = MatMul(n, w)  q = Add(p, c)  y = Sub(q, n)", 2),
    "two of one value": ("p = MatMul(n, w)  q = Add(p, c)  r = Add(q, n)  y = Mul(r, n)", 3),
}
"""What comes after a norm, and how many nodes a shift adds."""


def _model(proto: onnx.ModelProto, opset: int = 17) -> ir.Model:
    proto.opset_import[0].version, proto.ir_version = opset, 8 if opset < 23 else 11
    model = load(proto)
    canonicalize(model)
    return model


def _transform(site: Site, rng: np.random.Generator) -> ChannelTransform:
    scale = np.exp(rng.uniform(np.log(0.1), np.log(10), site.channels))
    return ChannelTransform(scale, rng.uniform(-2, 2, site.channels) * (not site.shift_blocked))


def _sites(places: list[Site | Refusal]) -> list[Site]:
    return [site for site in places if isinstance(site, Site)]


def _transform_all(model: ir.Model, seed: int) -> None:
    """Transform all sites, then all inserted ones."""
    rng, sites = np.random.default_rng(seed), _sites(find_sites(model))
    _apply(sites, model, rng)
    _apply(_sites(find_inserted(model, sites)), model, rng)


def _apply(sites: list[Site], model: ir.Model, rng: np.random.Generator) -> None:
    for site in sites:
        transform, before = _transform(site, rng), len(model.graph)
        predicted = added_nodes(site, transform)
        assert apply_transform(site, transform) == predicted == len(model.graph) - before


@pytest.mark.parametrize("name", CASES)
def test_the_sites_are_these(name: str, build: Build) -> None:
    case = CASES[name]
    places = find_sites(_model(build(case.text), case.opset))
    sites = _sites(places)
    assert [_shown(site) for site in sites] == list(case.sites)
    reasons = [site.shift_blocked for site in sites if site.shift_blocked]
    reasons += [refused.reason for refused in places if isinstance(refused, Refusal)]
    assert any(case.reason in reason for reason in [*reasons, ""] if reason or not case.reason), reasons


MASKED = "Attention with a row that is masked whole"
RUN = [
    pytest.param(name, marks=needs("Attention of a row that is masked whole")) if name == MASKED else name
    for name in CASES
]


@pytest.mark.parametrize("name", RUN)
@given(seed=seeds)
def test_any_transform_keeps_the_outputs(name: str, build: Build, seed: int) -> None:
    """In float64 by the reference implementation, and in float32 by ONNX Runtime."""
    wide, feed, expected_outputs = _prepared(name, build)
    model, wide = _canonical(name, build).clone(), wide.clone()
    _transform_all(wide, seed)
    _require_close(compute_in_double(wide, feed), expected_outputs, DOUBLE)
    _transform_all(model, seed)
    _require_close(runner(model, threads=1)(feed), expected_outputs, SINGLE)


@cache
def _canonical(name: str, build: Build) -> ir.Model:
    return _model(build(CASES[name].text), CASES[name].opset)


@cache
def _prepared(name: str, build: Build) -> tuple[ir.Model, Feed, Arrays]:
    """Return the graph in float64, an input in float32, and the outputs."""
    wide, rng = in_double(_canonical(name, build)), np.random.default_rng(0)
    (x,) = wide.graph.inputs
    assert x.shape is not None
    shape = [dim if isinstance(dim, int) else 2 for dim in x.shape]
    data = 2 * rng.standard_normal(shape).astype(np.float32)
    feed: Feed = {str(x.name): rng.integers(0, 3, shape) if x.dtype == ir.DataType.INT64 else data}
    return wide, feed, compute_in_double(wide, feed)


def _require_close(actual: Sequence[NDArray[np.generic]], expected_outputs: Arrays, tolerance: float) -> None:
    for output, expected in zip(actual, expected_outputs, strict=True):
        assert np.abs(output.astype(np.float64) - expected).max() < tolerance * np.abs(expected).max()


@pytest.mark.parametrize("name", ADDED)
def test_the_shift_of_an_inverse_edge_goes_into_a_bias(
    name: str, build: Build, compute: Compute, deviation: Deviation
) -> None:
    body, added = ADDED[name]
    head = ROWS.replace("M] y)", "M] y, float[B,N,L] q)") if name == "an output" else ROWS
    model = _model(build(f"{head}> {{ n = LayerNormalization(x, g, b)  {body} }}"))
    before, count, (site,) = compute(model), len(model.graph), _sites(find_sites(model))
    assert not site.shift_blocked
    apply_transform(site, _transform(site, np.random.default_rng(0)))
    assert len(model.graph) - count == added
    assert deviation(before, compute(model)) < SINGLE
