"""BatchNorms and per-channel factors are folded into the layers beside them, exactly; elsewhere they stay."""

from collections import Counter
from collections.abc import Callable
from typing import TypeAlias

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from numpy.typing import NDArray

from requant.ir.canonical.batch_norm import FoldBatchNorm
from requant.ir.canonical.canonicalize import canonicalize
from requant.ir.load import load

Arrays: TypeAlias = list[NDArray[np.generic]]
Compute: TypeAlias = Callable[[ir.Model], Arrays]
Deviation: TypeAlias = Callable[[Arrays, Arrays], float]

IMAGE = "(float[B,4,7,7] x) => (float[B,N,H,W] y)"
ROWS = "(float[B,4] x) => (float[B,N] y)"
WEIGHTS = """<
    float[8,4,3,3] w, float[8,2,3,3] h, float[4,8,3,3] t, float[4,4,3,3] u, float[8,2,1,1] s, float[4,8] m,
    float[8,4] n, float[8] c, float[8] g, float[8] b, float[8] e, float[8] v, float[4] g4, float[4] b4, float[4] e4,
    float[4] v4, float k, float[1,8,1,1] f, float[8,1,1] o, float[1,1,1,5] r, float[1,4,1,1] f4>"""

NORM = "BatchNormalization(a, g, b, e, v)"
FIRST = "a = BatchNormalization(x, g4, b4, e4, v4)"

FOLDED = {
    "Conv": (IMAGE, "a = Conv(x, w)  y = BatchNormalization<epsilon = 0.1>(a, g, b, e, v)", "Conv"),
    "Conv with bias": (IMAGE, f"a = Conv<pads = [1,1,1,1]>(x, w, c)  y = {NORM}", "Conv"),
    "grouped Conv": (IMAGE, f"a = Conv<group = 2>(x, h, c)  y = {NORM}", "Conv"),
    "ConvTranspose": (IMAGE, f"a = ConvTranspose(x, t, c)  y = {NORM}", "ConvTranspose"),
    "grouped ConvTranspose": (IMAGE, f"a = ConvTranspose<group = 2>(x, u)  y = {NORM}", "ConvTranspose"),
    "Gemm": (ROWS, f"a = Gemm<alpha = 0.5, beta = 2.0>(x, m, c)  y = {NORM}", "Gemm"),
    "Gemm of one bias": (ROWS, f"a = Gemm(x, m, k)  y = {NORM}", "Gemm"),
    "Gemm of a bias without effect": (ROWS, f"a = Gemm<beta = 0.0>(x, m, c)  y = {NORM}", "Gemm"),
    "Gemm transposed": (ROWS, f"a = Gemm<transB = 1>(x, n)  y = {NORM}", "Gemm"),
    "before Conv": (IMAGE, f"{FIRST}  y = Conv(a, w, c)", "Conv"),
    "before grouped Conv": (IMAGE, f"{FIRST}  y = Conv<group = 2>(a, h)", "Conv"),
    "before Gemm": (ROWS, f"{FIRST}  y = Gemm<alpha = 0.5, beta = 2.0>(a, m, c)", "Gemm"),
    "before Gemm transposed": (ROWS, f"{FIRST}  y = Gemm<transB = 1>(a, n)", "Gemm"),
    "between": (IMAGE, f"a = Conv(x, w)  d = {NORM}  y = ConvTranspose(d, s)", "Conv ConvTranspose"),
    "scale and offset": (IMAGE, "a = Conv(x, w)  d = Mul(a, f)  i = Add(o, d)  y = Mul(k, i)", "Conv"),
    "differences and quotients": (IMAGE, "a = Conv(x, w)  d = Sub(a, o)  i = Div(d, f)  y = Sub(k, i)", "Conv"),
    "one after another": (IMAGE, f"d = Conv(x, w)  a = Mul(f, d)  y = {NORM}", "Conv"),
    "a shared weight": (IMAGE, f"a = Conv(x, w)  d = Conv(x, w)  i = {NORM}  y = Add(d, i)", "Conv Conv Add"),
}

KEPT = {
    "another consumer of the layer": (IMAGE, f"a = Conv(x, w)  d = {NORM}  y = Add(a, d)"),
    "padding": (IMAGE, f"{FIRST}  y = Conv<pads = [1,1,1,1]>(a, w, c)"),
    "an activation between": (IMAGE, f"{FIRST}  d = Relu(a)  y = Conv(d, w)"),
    "two consumers": (IMAGE, f"{FIRST}  d = Conv(a, w)  i = Conv(a, w)  y = Add(d, i)"),
    "a transposed layer after it": (IMAGE, f"{FIRST}  y = ConvTranspose(a, t)"),
    "a scale for each column": (IMAGE, "a = Conv(x, w)  y = Mul(a, r)"),
    "a quotient": (IMAGE, "a = Conv(x, w)  y = Div(f, a)"),
    "a scale before": (IMAGE, "a = Mul(x, f4)  y = Conv(a, w)"),
    "a product of data": (IMAGE, "a = Conv(x, w)  d = Sigmoid(a)  y = Mul(a, d)"),
    "a MatMul": (ROWS, f"a = MatMul(x, m)  y = {NORM}"),
    "a computed variance": (
        IMAGE,
        """a = Conv(x, w)  d = ReduceMean<axes = [0, 2, 3], keepdims = 0>(a)  i = Abs(d)
           y = BatchNormalization(a, g, b, e, i)""",
    ),
}


def _model(head: str, body: str) -> ir.Model:
    proto = onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["": 17]> g {head} {WEIGHTS} {{ {body} }}')
    rng = np.random.default_rng(len(body))
    for value in proto.graph.value_info:
        shape = [dim.dim_value for dim in value.type.tensor_type.shape.dim]
        sign = 1 if value.name.startswith("v") else rng.choice([-1, 1], shape)
        weight = np.asarray(sign * rng.uniform(0.5, 2, shape))
        proto.graph.initializer.append(onnx.numpy_helper.from_array(weight.astype(np.float32), value.name))
    del proto.graph.value_info[:]
    return load(proto)


@pytest.mark.parametrize("name", FOLDED)
def test_the_layer_beside_does_it(name: str, compute: Compute, deviation: Deviation) -> None:
    head, body, ops = FOLDED[name]
    model = _model(head, body)
    before = compute(model)
    canonicalize(model)
    assert Counter(node.op_type for node in model.graph) == Counter(ops.split())
    assert deviation(before, compute(model)) < 1e-5
    assert [value.name for value in model.graph.outputs] == ["y"]
    assert not FoldBatchNorm()(model).modified


@pytest.mark.parametrize("name", KEPT)
def test_a_norm_that_no_layer_can_take_up_stays(name: str, compute: Compute, deviation: Deviation) -> None:
    model = _model(*KEPT[name])
    before, ops = compute(model), Counter(node.op_type for node in model.graph)
    canonicalize(model)
    assert Counter(node.op_type for node in model.graph) == ops
    assert deviation(before, compute(model)) < 1e-6


def test_weights_are_not_computed_until_they_are_read() -> None:
    model = _model(*FOLDED["Conv"][:2])
    canonicalize(model)
    (node,) = model.graph
    assert node.inputs[1] is not None
    assert isinstance(node.inputs[1].const_value, ir.LazyTensor)


def test_training_is_no_inference() -> None:
    model = _model(IMAGE, "a = Conv(x, w)  y, p, q = BatchNormalization<training_mode = 1>(a, g, b, e, v)")
    canonicalize(model)
    assert [node.op_type for node in model.graph] == ["Conv", "BatchNormalization"]


@pytest.mark.parametrize("dtype", [ir.DataType.FLOAT16, ir.DataType.BFLOAT16, ir.DataType.DOUBLE])
def test_weights_keep_their_type(dtype: ir.DataType) -> None:
    head, body, _ = FOLDED["Conv with bias"]
    model = _model(head, body)
    for value in (*model.graph.inputs, *model.graph.outputs, *model.graph.initializers.values()):
        value.dtype = dtype
        if value.const_value is not None:
            value.const_value = ir.tensor(value.const_value.numpy().astype(dtype.numpy()), name=value.name)
    canonicalize(model)
    (node,) = model.graph
    tensors = [value.const_value for value in node.inputs[1:] if value is not None]
    assert [tensor.dtype for tensor in tensors if tensor is not None] == [dtype, dtype]
    assert all(tensor.numpy().dtype == dtype.numpy() for tensor in tensors if tensor is not None)


@pytest.mark.parametrize("opset", [7, 9, 13])
def test_old_batch_norms_are_known(opset: int, compute: Compute, deviation: Deviation) -> None:
    text = f"""<ir_version: 7, opset_import: ["": {opset}]> g (float[B,2,4,4] x) => (float[B,2,4,4] y)
        <float[2,2,1,1] w = {{1, -2, 3, 4}}, float[2] g = {{1, 3}}, float[2] v = {{0.5, 4}}> {{
        a = Conv(x, w)  b = BatchNormalization<momentum = 0.8>(a, g, g, v, v)  y = Dropout(b) }}"""
    model = load(onnx.parser.parse_model(text))
    before = compute(model)
    canonicalize(model)
    assert [node.op_type for node in model.graph] == ["Conv"]
    assert deviation(before, compute(model)) < 1e-5
