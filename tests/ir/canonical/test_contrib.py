"""ONNX Runtime's fused ops become standard ones that compute the same; those without an equivalent stay and work."""

from collections import Counter
from collections.abc import Callable
from typing import TypeAlias

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from numpy.typing import NDArray

from requant.ir.canonical.canonicalize import canonicalize
from requant.ir.canonical.contrib import Unfuse
from requant.ir.load import load
from requant.ir.norms import Norm, find_norms
from requant.ir.opset import lower_opset
from requant.ir.shapes.symbolic_dims import dimensions
from requant.runtime.session import runner

Arrays: TypeAlias = list[NDArray[np.generic]]
Build: TypeAlias = Callable[[str], onnx.ModelProto]
Compute: TypeAlias = Callable[[ir.Model], Arrays]
Deviation: TypeAlias = Callable[[Arrays, Arrays], float]

HEAD = "(float[B,T,6] x, float[B,T,6] s) => (float[B,T,N] y)"
WEIGHTS = """<float[6] g, float[6] b, float[6] c, float[6,8] w, float[8,6] v, float[6,18] p, float[18] q,
             float[3,6] d, int64[4] split = {0, 0, 2, 3}>"""

UNFUSED = {
    "skip norm": ("y = com.microsoft.SkipLayerNormalization(x, s, g, b)", "Add LayerNormalization"),
    "skip norm without shift": ("y = com.microsoft.SkipLayerNormalization(x, s, g)", "Add LayerNormalization"),
    "skip norm, bias": (
        "y = com.microsoft.SkipLayerNormalization<epsilon = 0.1>(x, s, g, b, c)",
        "Add Add LayerNormalization",
    ),
    "skip norm, sum": (
        "n, m, i, r = com.microsoft.SkipLayerNormalization(x, s, g, b, c)  y = Sub(n, r)",
        "Add Add LayerNormalization Sub",
    ),
    "skip norm of one row": (
        "t = ReduceMean<axes = [0], keepdims = 0>(s)  y = com.microsoft.SkipLayerNormalization(x, t, g, b)",
        "ReduceMean Add LayerNormalization",
    ),
    "skip RMS norm": (
        "y = com.microsoft.SkipSimplifiedLayerNormalization(x, s, g)",
        "Add SimplifiedLayerNormalization",
    ),
    "skip RMS norm, bias and sum": (
        "n, m, i, r = com.microsoft.SkipSimplifiedLayerNormalization<epsilon = 0.1>(x, s, g, c)  y = Sub(n, r)",
        "Add Add SimplifiedLayerNormalization Sub",
    ),
    "two blocks": (
        """n, m, i, r = com.microsoft.SkipLayerNormalization(x, s, g, b)  h = com.microsoft.FusedMatMul(n, w)
           k = com.microsoft.Gelu(h)  o = MatMul(k, v)  y = com.microsoft.SkipLayerNormalization(o, r, g, b)""",
        "Add LayerNormalization MatMul Div Erf Add Mul Mul MatMul Add LayerNormalization",
    ),
    "Gelu": ("y = com.microsoft.Gelu(x)", "Div Erf Add Mul Mul"),
    "Gelu with bias": ("y = com.microsoft.BiasGelu(x, b)", "Add Div Erf Add Mul Mul"),
    "tanh Gelu": ("y = com.microsoft.FastGelu(x)", "Pow Mul Add Mul Tanh Mul Add Mul"),
    "tanh Gelu with bias": ("y = com.microsoft.FastGelu(x, b)", "Add Pow Mul Add Mul Tanh Mul Add Mul"),
    "quick Gelu": ("y = com.microsoft.QuickGelu(x)", "Mul Sigmoid Mul"),
    "SiLU": ("y = com.microsoft.QuickGelu<alpha = 1.0>(x)", "Sigmoid Mul"),
    "MatMul": ("y = com.microsoft.FusedMatMul(x, w)", "MatMul"),
    "MatMul of a transposed weight": ("y = com.microsoft.FusedMatMul<transB = 1>(x, d)", "MatMul"),
    "MatMul of transposed data": ("y = com.microsoft.FusedMatMul<transA = 1, transB = 0>(x, s)", "Transpose MatMul"),
    "MatMul, scaled": ("y = com.microsoft.FusedMatMul<transB = 1, alpha = 0.3>(x, s)", "Transpose MatMul Mul"),
    "MatMul of an older name": ("y = com.microsoft.TransposeMatMul<transB = 1>(x, s)", "Transpose MatMul"),
    "attention": (
        "y = com.microsoft.Attention<num_heads = 2>(x, p, q)",
        "MatMul Add Split MultiHeadAttention",
    ),
    "causal attention of other widths": (
        "y = com.microsoft.Attention<num_heads = 2, unidirectional = 1, qkv_hidden_sizes = [4, 4, 10]>(x, p, q)",
        "MatMul Add Split MultiHeadAttention",
    ),
}


@pytest.mark.parametrize("name", UNFUSED)
def test_a_fused_op_becomes_standard_ones(name: str, build: Build, compute: Compute, deviation: Deviation) -> None:
    body, ops = UNFUSED[name]
    _check(f"{HEAD} {WEIGHTS} {{ {body} }}", ops, build, compute, deviation)


IMAGE = "(float[B,4,5,5] x, float[B,6,5,5] z) => (float[B,6,M,N] y) <float[6,4,3,3] w, float[6] b>"
MATRIX = "(float[B,6] x) => (float[B,N] y) <float[6,8] w, float[8,6] t, float[8] b>"
IDS = "(int32[B,T] i) => (float[B,T,6] y, int32[N] n)"
TABLES = "<float[9,6] w, float[5,6] p, float[2,6] e, float[6] g, float[6] b, int32 two = {2}>"
LAYERS = {
    "Conv": (f'{IMAGE} {{ y = com.microsoft.FusedConv<activation = "Relu">(x, w, b) }}', "Conv Relu"),
    "Conv without activation": (f"{IMAGE} {{ y = com.microsoft.FusedConv<strides = [2, 2]>(x, w) }}", "Conv"),
    "Conv with slope": (
        f'{IMAGE} {{ y = com.microsoft.FusedConv<activation = "LeakyRelu", activation_params = [0.3]>(x, w, b) }}',
        "Conv LeakyRelu",
    ),
    "Conv with bounds": (
        f'{IMAGE} {{ y = com.microsoft.FusedConv<activation = "Clip", activation_params = [0.0, 1.0]>(x, w, b) }}',
        "Conv Clip",
    ),
    "Conv with hard sigmoid": (
        f"""{IMAGE} {{ y = com.microsoft.FusedConv<activation = "HardSigmoid", activation_params = [0.3, 0.4],
            pads = [1, 1, 1, 1]>(x, w, b) }}""",
        "Conv HardSigmoid",
    ),
    "Conv and sum": (
        f'{IMAGE} {{ y = com.microsoft.FusedConv<activation = "Relu", pads = [1, 1, 1, 1]>(x, w, b, z) }}',
        "Conv Add Relu",
    ),
    "Gemm": (f'{MATRIX} {{ y = com.microsoft.FusedGemm<activation = "Relu", alpha = 0.5>(x, w, b) }}', "Gemm Relu"),
    "Gemm with slope": (
        f"""{MATRIX} {{ y = com.microsoft.FusedGemm<activation = "LeakyRelu", activation_alpha = 0.3,
            transB = 1>(x, t) }}""",
        "Gemm LeakyRelu",
    ),
    "embedding": (
        f"{IDS} {TABLES} {{ a = Mod(i, two)  y, n = com.microsoft.EmbedLayerNormalization(a, a, w, p, e, g, b, a) }}",
        "Mod Slice Shape Gather Gather Add Add LayerNormalization Cast Equal Cast ReduceSum",
    ),
}


@pytest.mark.parametrize("name", LAYERS)
def test_a_fused_layer_becomes_standard_ones(name: str, build: Build, compute: Compute, deviation: Deviation) -> None:
    text, ops = LAYERS[name]
    _check(text, ops, build, compute, deviation)


def _check(text: str, ops: str, build: Build, compute: Compute, deviation: Deviation) -> None:
    model = load(build(text))
    before = compute(model)
    canonicalize(model)
    assert Counter(node.op_type for node in model.graph) == Counter(ops.split())
    assert deviation(before, compute(model)) < 1e-5
    assert all(value.shape is not None and value.dtype for node in model.graph for value in node.outputs if value.name)
    assert not Unfuse()(model).modified


def test_position_ids_and_no_segments(build: Build, compute: Compute, deviation: Deviation) -> None:
    text = """(int32[B,T] i) => (float[B,T,6] y) <float[9,6] w, float[5,6] p, float[6] g, float[6] b, int32 two = {2}> {
        a = Mod(i, two)  y, n = com.microsoft.EmbedLayerNormalization(a, , w, p, , g, b, , a) }"""
    _check(text, "Mod Gather Gather Add LayerNormalization", build, compute, deviation)


@pytest.mark.parametrize("opset", [17, 20, 23])
def test_gelu_is_an_op_where_the_opset_has_it(opset: int, compute: Compute, deviation: Deviation) -> None:
    text = f"""<ir_version: 8, opset_import: ["": {opset}, "com.microsoft": 1]>
        g (float16[B,T,6] x) => (float16[B,T,6] y) {{
        a = com.microsoft.Gelu(x)  b = Neg(a)  y = com.microsoft.FastGelu(b) }}"""
    model = load(onnx.parser.parse_model(text))
    before = compute(model)
    canonicalize(model)
    assert [node.op_type for node in model.graph].count("Gelu") == (2 if opset >= 20 else 0)
    assert all(not node.domain for node in model.graph)
    assert deviation(before, compute(model)) < 5e-3


@pytest.mark.parametrize(("alpha", "ops"), [(None, "Sigmoid Mul"), (1.0, "Sigmoid Mul"), (1.5, "Mul Sigmoid Mul")])
def test_swish_is_a_product(alpha: float | None, ops: str) -> None:
    attribute = "" if alpha is None else f"<alpha = {alpha}>"
    text = f"g (float[2,6] x) => (float[2,6] y) {{ y = Swish{attribute}(x) }}"
    model = load(onnx.parser.parse_model(f'<ir_version: 11, opset_import: ["": 24]> {text}'))
    canonicalize(model)
    assert " ".join(node.op_type for node in model.graph) == ops
    lower_opset(model, 17, 8)  # the lowest version of ONNX Runtime has no opset 24
    x = np.linspace(-9, 9, 12, dtype=np.float32).reshape(2, 6)
    (y,) = runner(model, threads=1)({"x": x})
    assert np.allclose(y, x / (1 + np.exp(-(alpha or 1.0) * x)), atol=1e-5)


@pytest.mark.parametrize("mask", ["int32[B,T] m", "int32[B,T,T] m"])
def test_attention_keeps_its_mask(mask: str, build: Build, compute: Compute, deviation: Deviation) -> None:
    text = f"""(float[B,T,6] x, {mask}) => (float[B,T,6] y) <float[6,18] p, float[18] q> {{
        y = com.microsoft.Attention<num_heads = 2, mask_filter_value = -50.0>(x, p, q, m) }}"""
    _check(text, "MatMul Add Split MultiHeadAttention", build, compute, deviation)


def test_attention_keeps_the_lengths_that_an_embedding_counts(
    build: Build, compute: Compute, deviation: Deviation
) -> None:
    text = """(int32[B,T] i) => (float[B,T,6] y)
        <float[9,6] w, float[5,6] p, float[2,6] e, float[6] g, float[6] b, float[6,18] r,
         float[18] q, int32 two = {2}> {
        a = Mod(i, two)  h, n = com.microsoft.EmbedLayerNormalization(a, a, w, p, e, g, b, a)
        y = com.microsoft.Attention<num_heads = 2>(h, r, q, n) }"""
    model = load(build(text))
    before = compute(model)
    canonicalize(model)
    assert {node.op_type for node in model.graph if node.domain} == {"MultiHeadAttention"}
    assert deviation(before, compute(model)) < 1e-5


KEPT = {
    "batches transposed": (
        f"{HEAD} {{ y = com.microsoft.FusedMatMul<transBatchA = 1, transBatchB = 1>(x, s) }}",
        "FusedMatMul",
    ),
    "a mask that only attention takes": (
        """(float[B,T,6] x, int32[K] m) => (float[B,T,6] y) <float[6,18] p, float[18] q> {
            y = com.microsoft.Attention<num_heads = 2>(x, p, q, m) }""",
        "Attention",
    ),
    "a key-value cache": (
        """(float[B,T,6] x, float[2,B,2,P,3] k) => (float[B,T,6] y, float[2,B,2,N,3] n) <float[6,18] p, float[18] q> {
            y, n = com.microsoft.Attention<num_heads = 2>(x, p, q, , k) }""",
        "Attention",
    ),
    "an unheard activation": (f'{IMAGE} {{ y = com.microsoft.FusedConv<activation = "Mish">(x, w, b) }}', "FusedConv"),
    "another op": (f"{HEAD} {{ y = com.microsoft.BiasDropout(x, s) }}", "BiasDropout"),
    "another domain": (f"{HEAD} {{ y = own.Gelu(x) }}", "Gelu"),
    "the mean": (
        f"{HEAD} {WEIGHTS} {{ n, y = com.microsoft.SkipLayerNormalization(x, s, g, b) }}",
        "SkipLayerNormalization",
    ),
    "lengths of nothing": (
        """(int32[B,T] i) => (float[B,T,6] y, int32[N] n) <float[9,6] w, float[5,6] p, float[6] g, float[6] b> {
            y, n = com.microsoft.EmbedLayerNormalization(i, , w, p, , g, b) }""",
        "EmbedLayerNormalization",
    ),
}


@pytest.mark.parametrize("name", KEPT)
def test_an_op_without_equivalent_stays(name: str) -> None:
    text, op_type = KEPT[name]
    header = '<ir_version: 8, opset_import: ["": 17, "com.microsoft": 1, "own": 1]> g '
    proto = onnx.parser.parse_model(header + text)
    for value in proto.graph.value_info:
        shape = [dim.dim_value for dim in value.type.tensor_type.shape.dim]
        proto.graph.initializer.append(onnx.numpy_helper.from_array(np.ones(shape, np.float32), value.name))
    model = load(proto)
    canonicalize(model)
    (node,) = model.graph
    assert node.op_type == op_type
    assert list(proto.graph.node[0].input) == [value.name if value else "" for value in node.inputs]


SHAPES = {
    "RMS norm": ("y = SimplifiedLayerNormalization<axis = -1>(x, g)", ["B", "T", 6]),
    "attention of three": ("y = com.microsoft.MultiHeadAttention<num_heads = 2>(x, s, v)", ["B", "T", 4]),
    "grouped attention": ("y = com.microsoft.GroupQueryAttention<num_heads = 2>(x, s, v)", ["B", "T", None]),
    "positions": ("y = com.microsoft.RotaryEmbedding(x, i, c, c)", ["B", "T", 6]),
    "cached attention": ("y, n = com.microsoft.Attention<num_heads = 2>(x, p, q, , k)", ["B", "T", 6]),
    "blocks": ("a = com.microsoft.nchwc.ReorderInput(x)  y = com.microsoft.nchwc.Conv(a, x)", [None, None, None]),
}


@pytest.mark.parametrize("name", SHAPES)
def test_shapes_are_known_behind_ops_that_stay(name: str) -> None:
    body, expected = SHAPES[name]
    text = f"""<ir_version: 8, opset_import: ["": 17, "com.microsoft": 1, "com.microsoft.nchwc": 1]>
        g (float[B,T,6] x, float[B,S,6] s, float[B,S,4] v, float[6] g, int64[B,T] i, float[9,3] c, float[6,18] p,
           float[18] q, float[2,B,2,P,3] k) => (float[A] z) {{ {body}  z = Shape(y) }}"""
    model = load(onnx.parser.parse_model(text))
    canonicalize(model)
    y = next(value for node in model.graph for value in node.outputs if value.name == "y")
    assert y.dtype == ir.DataType.FLOAT
    assert y.shape is not None
    assert [None if str(dim).startswith("unk") else dim for dim in dimensions(y.shape)] == expected
    assert not model.functions


def test_a_product_implies_the_width_of_its_input(build: Build) -> None:
    text = """(float[B,T,6] x) => (float[B,T,8] y) <float[4,8] w> {
        a = com.microsoft.GroupQueryAttention<num_heads = 2>(x)  y = MatMul(a, w) }"""
    model = load(build(text))
    canonicalize(model)
    assert str(model.graph.node(0).outputs[0].shape) == "[B,T,4]"


@pytest.mark.parametrize("opset", [9, 11, 14, 16])
def test_norms_ahead_of_their_opset_survive_its_conversion(opset: int, compute: Compute, deviation: Deviation) -> None:
    text = f"""<ir_version: 7, opset_import: ["": {opset}, "com.microsoft": 1]> g (float[B,T,4] x) => (float[B,T,4] y)
        <float[4] w = {{1, 2, 3, 4}}> {{
        a = LayerNormalization<axis = -1>(x, w, w)  b = com.microsoft.Gelu(a)
        y = SimplifiedLayerNormalization<axis = -1>(b, w) }}"""
    model = load(onnx.parser.parse_model(text))
    before = compute(model)
    canonicalize(model)
    assert dict(model.graph.opset_imports) == {"": 17}
    assert {"LayerNormalization", "SimplifiedLayerNormalization"} <= {node.op_type for node in model.graph}
    assert deviation(before, compute(model)) < 1e-5
    assert sum(isinstance(norm, Norm) for norm in find_norms(model.graph)) == 2
