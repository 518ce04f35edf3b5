"""Small good models to damage: layers, norms, branches, loops, functions, quantizers, shapes that are computed."""

from functools import cache

import numpy as np
import onnx

from models.synthetic import Transformer, pre_norm

_CONV = """(float[N,3,8,8] x) => (float[N,16] y)
<float[16,3,3,3] w1, float[16] g, float[16] b, float[16] m, float[16] v, float[16,16] w2, float[16] b2> {
    c = Conv <pads = [1,1,1,1]> (x, w1)
    n = BatchNormalization (c, g, b, m, v)
    r = Relu (n)
    p = MaxPool <kernel_shape = [2,2], strides = [2,2]> (r)
    a = GlobalAveragePool (p)
    f = Flatten (a)
    y = Gemm <transB = 1> (f, w2, b2) }"""
_BRANCHES = """(float[N,16] x, bool c) => (float[N,16] y) <float[16,16] w, float[16,16] u> {
    h = MatMul (x, w)
    i = If (c) <then_branch = a () => (float[N,16] p) { p = Relu (h) },
                else_branch = b () => (float[N,16] q) { q = MatMul (h, u) }>
    trips = Constant <value = int64 {2}> ()
    l = Loop (trips, c, i) <body = t (int64 n, bool k, float[N,16] s) => (bool k2, float[N,16] s2)
        { k2 = Identity (k)  s2 = Tanh (s) }>
    y = MatMul (l, w) }"""
_SHAPES = """(int64[N,S] ids) => (float[N,S,16] y) <float[50,16] table, float[16,48] qkv, float[16,16] o> {
    e = Gather (table, ids)
    s = Shape (ids)
    zero = Constant <value = int64[1] {0}> ()
    one = Constant <value = int64[1] {1}> ()
    n = Slice (s, zero, one)
    heads = Constant <value = int64[3] {-1, 2, 8}> ()
    target = Concat <axis = 0> (n, heads)
    back = Constant <value = int64[3] {0, -1, 16}> ()
    h = MatMul (e, qkv)
    q, k, v = Split <axis = 2, num_outputs = 3> (h)
    q4 = Reshape (q, target)
    qt = Transpose <perm = [0,2,1,3]> (q4)
    k4 = Reshape (k, target)
    kt = Transpose <perm = [0,2,3,1]> (k4)
    v4 = Reshape (v, target)
    vt = Transpose <perm = [0,2,1,3]> (v4)
    scores = MatMul (qt, kt)
    rows = Softmax <axis = -1> (scores)
    mixed = MatMul (rows, vt)
    m = Transpose <perm = [0,2,1,3]> (mixed)
    flat = Reshape (m, back)
    y = MatMul (flat, o) }"""
_QUANTIZED = """(float[2,16] x) => (float[2,16] y) <float[16,16] u> {
    s = Constant <value = float {0.02}> ()
    z = Constant <value = uint8 {128}> ()
    w = Constant <value = int8[16] {1,2,3,4,5,6,7,8,9,-1,-2,-3,-4,-5,-6,-7}> ()
    sw = Constant <value = float {0.01}> ()
    shape = Constant <value = int64[2] {16, 1}> ()
    q = QuantizeLinear (x, s, z)
    d = DequantizeLinear (q, s, z)
    wd = DequantizeLinear (w, sw)
    wr = Reshape (wd, shape)
    h = MatMul (d, wr)
    y = Mul (h, x) }"""
_OLD = """(float[N,4,16] x) => (float[N,4,16] y) <float[16,16] w, float[16] b> {
    u = Unsqueeze <axes = [1]> (x)
    q = Squeeze <axes = [1]> (u)
    h = MatMul (q, w)
    a = Add (h, b)
    r = ReduceMean <axes = [-1], keepdims = 1> (a)
    d = Sub (a, r)
    g = Relu (d)
    y = MatMul (g, w) }"""
_FUNCTIONS = """<ir_version: 8, opset_import: ["": 18, "own": 1]>
    g (float[N,16] x, float[16,16] w) => (float[N,16] y) { h = own.block (x, w)  y = own.block (h, w) }
    <domain: "own", opset_import: ["": 18, "own": 1]> block (a, m) => (b) { p = MatMul (a, m)  b = own.act (p) }
    <domain: "own", opset_import: ["": 18, "own": 1]> act (a) => (b) { s = Sigmoid (a)  b = Mul (a, s) }"""
_CONTRIB = """(float[N,4,16] x) => (float[N,4,16] y) <float[16,16] w, float[16] b, float[16] g, float[16] k> {
    h = MatMul (x, w)
    a = com.microsoft.BiasGelu (h, b)
    n = com.microsoft.SkipLayerNormalization (a, x, g, k)
    y = com.microsoft.FusedMatMul <alpha = 0.5> (n, w) }"""

_TEXTS = ((_CONV, 17), (_BRANCHES, 17), (_SHAPES, 18), (_QUANTIZED, 21), (_OLD, 12), (_CONTRIB, 17))


@cache
def seeds() -> tuple[bytes, ...]:
    """Serialized models, all of which are good."""
    transformers = [
        pre_norm(Transformer(width=16, heads=2, layers=1, hidden=16, opset=17, dialect="pytorch")),
        pre_norm(Transformer(width=16, heads=2, layers=1, hidden=16)),
    ]
    functions = onnx.parser.parse_model(_FUNCTIONS)
    _fill(functions, {"w": [16, 16]})
    models = [*transformers, functions, *(_parsed(text, opset) for text, opset in _TEXTS)]
    return tuple(model.SerializeToString() for model in models)


def _parsed(text: str, opset: int) -> onnx.ModelProto:
    header = f'<ir_version: 8, opset_import: ["": {opset}, "com.microsoft": 1]> g '
    model = onnx.parser.parse_model(header + text)
    made = {name for node in model.graph.node for name in node.output}
    free = [value for value in model.graph.value_info if value.name not in made]
    _fill(model, {value.name: [dim.dim_value for dim in value.type.tensor_type.shape.dim] for value in free})
    return model


def _fill(model: onnx.ModelProto, shapes: dict[str, list[int]]) -> None:
    rng = np.random.default_rng(0)
    for name, shape in shapes.items():
        weight = np.abs(rng.standard_normal(shape)).astype(np.float32)
        model.graph.initializer.append(onnx.numpy_helper.from_array(weight, name))
    kept = [value for value in model.graph.value_info if value.name not in shapes]
    del model.graph.value_info[:]
    model.graph.value_info.extend(kept)
