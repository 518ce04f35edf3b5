"""Linear layers without a view are listed with a reason; products of activations and constant expressions are not."""

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
import onnx
import pytest

import requant
from requant.ir.canonical.canonicalize import canonicalize
from requant.ir.load import load
from requant.ir.recurrent import DYNAMIC_LSTM
from requant.ir.unsupported import UnsupportedLayer, find_unsupported, no_layers

Build: TypeAlias = Callable[[str], onnx.ModelProto]

SEQUENCE = "(float[T,2,24] x) => (float[S,D,2,18] y)"
ROWS = "(float[B,24] x) => (float[P,Q] y)"
IMAGE = "(float[B,6,7,7] x, float[4,6,3,3] k) => (float[B,N,H,W] y)"
CONTRIB = "com.microsoft"

LISTED = {
    "LSTM": (f"{SEQUENCE} <float[1,72,24] w, float[1,72,18] r> {{ y = LSTM<hidden_size = 18>(x, w, r) }}",
             "an integer LSTM quantizes its data at run time"),
    "GRU whose first output is not used": (
        "(float[T,2,24] x) => (float[1,2,18] y) <float[1,54,24] w, float[1,54,18] r> "
        '{ , y = GRU<hidden_size = 18>(x, w, r) }',
        "engines run GRU as one node in float",
    ),
    "RNN": (f"{SEQUENCE} <float[1,18,24] w, float[1,18,18] r> {{ y = RNN<hidden_size = 18>(x, w, r) }}",
            "engines run RNN as one node in float"),
    "vector": ("(float[B,24] x) => (float[B] y) <float[24] w> { y = MatMul(x, w) }", "its weight is a vector"),
    "vector on the left": ("(float[24,B] x) => (float[B] y) <float[24] w> { y = MatMul(w, x) }",
                           "its weight is a vector"),
    "few channels on the left": (
        "(float[24,B] x) => (float[P,Q] y) <float[6,24] w> { y = MatMul(w, x) }", "24 to 6 channels are too few"
    ),
    "unknown rank": (
        "(float[B,24] x, int64[n] s) => (float y) <float[18,24] w> { r = Reshape(x, s)  y = MatMul(w, r) }",
        "the rank of the second one is not known",
    ),
    "repeated data": (
        "(int64[2] n) => (float[A,B] y) <float[24] z, float[24,18] w> { e = Expand(z, n)  y = MatMul(e, w) }",
        "its input is a constant",
    ),
    "Conv by a computed kernel": (f"{IMAGE} {{ y = Conv(x, k) }}", "its weight is computed at run time"),
    "grouped ConvTranspose": (
        "(float[B,6,7,7] x) => (float[B,N,H,W] y) <float[6,2,3,3] w> { y = ConvTranspose<group = 2>(x, w) }",
        "no engine has an integer ConvTranspose in groups",
    ),
    "gathered experts": (
        """(float[B,1,24] x, int64[B] i) => (float[B,1,18] y) <float[4,18,24] w>
        { g = Gather(w, i)  t = Transpose<perm = [0, 2, 1]>(g)  y = MatMul(x, t) }""",
        "its weight is picked at run time from 'w'",
    ),
    "thin Einsum": (
        f'{ROWS} <float[24,3] w> {{ y = Einsum<equation = "bk,kn->bn">(x, w) }}', "24 to 3 channels are too few"
    ),
    "Einsum that sums": (
        f'{ROWS} <float[24,18,2] w> {{ y = Einsum<equation = "bk,knm->bn">(x, w) }}',
        "it sums its data or its weight, or takes a diagonal",
    ),
    "Einsum of three": (
        f'{ROWS} <float[24,18] w> {{ y = Einsum<equation = "bk,kn,bk->bn">(x, w, x) }}',
        "its equation does not fit a MatMul",
    ),
    "fused attention with a cache": (
        f"""(float[2,3,24] x, float[2,2,4,5,12] p) => (float[2,3,24] y) <float[24,72] w, float[72] b>
        {{ y, q = {CONTRIB}.Attention<num_heads = 2>(x, w, b, , p) }}""",
        "engines run Attention as one node in float",
    ),
    "mixture of experts": (
        f"""(float[8,24] x, float[8,4] r) => (float[8,24] y) <float[4,24,36] w, float[4,36,24] v>
        {{ y = {CONTRIB}.MoE<k = 1>(x, r, w, , v) }}""",
        "engines run MoE as one node in float",
    ),
    "8-bit weight": (
        f"{ROWS} <int8[24,18] w, float s> {{ d = DequantizeLinear(w, s)  y = MatMul(x, d) }}",
        "its weight is quantized already",
    ),
    "unfolded weight": (
        f"{ROWS} <float[24,18] w> {{ d = CumSum(w, a)  y = MatMul(x, d) }}".replace("w> {", "w, int64 a = {0}> {"),
        "its weight is computed from constants that could not be folded",
    ),
}  # fmt: skip

ABSENT = {
    "attention": "(float[2,5,24] x) => (float[2,5,5] y) { t = Transpose<perm = [0, 2, 1]>(x)  y = MatMul(x, t) }",
    "a linear layer": f"{ROWS} <float[24,18] w> {{ y = MatMul(x, w) }}",
    "a product of constants": f"{ROWS} <float[24,24] w> {{ p = MatMul(w, w)  y = Mul(x, p) }}",
    "a row of a table": """(float[B,24] x, int64[B] i) => (float[B,B] y) <float[9,24] w>
    { g = Gather(w, i)  t = Transpose(g)  y = MatMul(x, t) }""",
    "integers": "(int32[B,24] x) => (int32[B] y) <int32[24] w> { y = MatMul(x, w) }",
    "a fused product of activations": f"(float[4,4] x) => (float[4,4] y) {{ y = {CONTRIB}.FusedMatMul(x, x) }}",
    "a scale for each channel": f'{ROWS} <float[24] w> {{ y = Einsum<equation = "bk,k->bk">(x, w) }}',
}


def unsupported(text: str, build: Build) -> list[UnsupportedLayer]:
    return list(find_unsupported(load(build(text)).graph))


@pytest.mark.parametrize("name", LISTED)
def test_a_layer_without_a_view_is_listed_with_its_reason(name: str, build: Build) -> None:
    text, reason = LISTED[name]
    (layer,) = unsupported(text, build)
    assert reason in layer.reason
    assert layer.output == "y"
    assert layer.refusal.layers == (layer.name,)


@pytest.mark.parametrize("name", ABSENT)
def test_what_is_no_linear_layer_is_not_listed(name: str, build: Build) -> None:
    assert unsupported(ABSENT[name], build) == []


def test_the_report_and_the_inspection_list_it(build: Build) -> None:
    proto = build(
        """(float[4,2,24] x) => (float[4,2,18] y) <float[24,24] m, float[1,72,24] w, float[1,72,18] r, int64[1] a = {1}>
        { h = MatMul(x, m)  l = LSTM<hidden_size = 18>(h, w, r)  y = Squeeze(l, a) }"""
    )
    reason = DYNAMIC_LSTM
    inspection = requant.inspect(proto)
    assert ("l", reason) in inspection.outside
    result = requant.optimize(
        proto, [{"x": np.random.default_rng(0).standard_normal((4, 2, 24), np.float32)}], target="tensorrt"
    )
    assert [(layer.op_type, layer.reason) for layer in result.report.layers] == [("MatMul", ""), ("LSTM", reason)]


def test_a_model_of_such_layers_alone_lists_them_all(build: Build) -> None:
    text, reason = LISTED["GRU whose first output is not used"]
    result = requant.optimize(build(text), target="tensorrt", recipe="int8-weight")
    assert [layer.reason for layer in result.report.layers] == [reason]
    assert result.report.message == f"nothing to quantize: every linear layer stays in float ({reason})"


def test_a_graph_without_layers_says_so() -> None:
    assert no_layers([]) == "the graph has no MatMul, Gemm or Conv with a constant weight"


def test_the_shape_of_a_computed_weight_may_be_dynamic(build: Build) -> None:
    (layer,) = unsupported("(float[B,6,7,7] x, float[N,6,3,3] k) => (float[B,N,H,W] y) { y = Conv(x, k) }", build)
    assert layer.shape == (0, 6, 3, 3)


def test_the_canonical_form_of_a_table_of_experts_is_listed(build: Build) -> None:
    model = load(build(LISTED["gathered experts"][0]))
    canonicalize(model)
    assert len(list(find_unsupported(model.graph))) == 1
