"""Artifacts for TensorRT in a default session of ONNX Runtime: they load, and compute what they say."""

from collections.abc import Callable

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest
from numpy.typing import NDArray

import requant
from requant import result
from requant.ir.load import load
from requant.ir.save import to_bytes
from requant.ir.shapes.infer import InferShapes
from requant.passes import PreventFusions
from requant.result import Precision
from requant.runtime.session import runner
from requant.runtime.tally import tally
from tests.engine import needs, needs_tensorrt_rtx
from tests.passes.optimized import listing

Feeds = list[dict[str, NDArray[np.float32]]]
Arrays = list[NDArray[np.generic]]
Deviation = Callable[[Arrays, Arrays], float]

CNN = """(float[1,16,16,16] x) => (float[1,32] y) {
    a = Conv <pads = [1, 1, 1, 1]> (x, w1, b1) r = Relu (a) m = MaxPool <kernel_shape = [2, 2], strides = [2, 2]> (r)
    b = Conv <pads = [1, 1, 1, 1]> (m, w2, b1) s = Clip (b, lo, hi) c = Conv <pads = [1, 1, 1, 1]> (s, w2, b1)
    d = Add (c, s) t = Relu (d) u = Conv (t, w3, b2) v = Relu (u) e = Conv <pads = [1, 1, 1, 1]> (v, w4) z = Relu (e)
    p = GlobalAveragePool (z) f = Flatten (p) g = Gemm <transB = 1> (f, w5, b2) h = Relu (g)
    y = Gemm <transB = 1> (h, w6, b1) }"""
TRANSFORMER = """(float[1,16,64] x) => (float[1,16,64] y) {
    h = LayerNormalization (x, gain, b2) q0 = MatMul (h, k1) q1 = Add (q0, b2) k0 = MatMul (h, k2) i1 = Add (k0, b2)
    v0 = MatMul (h, k3) v1 = Add (v0, b2) q2 = Reshape (q1, heads) q3 = Transpose <perm = [0, 2, 1, 3]> (q2)
    i2 = Reshape (i1, heads) i3 = Transpose <perm = [0, 2, 3, 1]> (i2) v2 = Reshape (v1, heads)
    v3 = Transpose <perm = [0, 2, 1, 3]> (v2) s0 = MatMul (q3, i3) s1 = Softmax (s0) o0 = MatMul (s1, v3)
    o1 = Transpose <perm = [0, 2, 1, 3]> (o0) o2 = Reshape (o1, flat) o3 = MatMul (o2, k4) o4 = Add (o3, b2)
    r0 = Add (x, o4) n = LayerNormalization (r0, gain, b2) f0 = MatMul (n, k5) f1 = Add (f0, b2) f2 = Relu (f1)
    f3 = MatMul (f2, k6) f4 = Add (f3, b2) y = Add (r0, f4) }"""
NETWORKS = {"cnn": (CNN, (1, 16, 16, 16)), "transformer": (TRANSFORMER, (1, 16, 64))}
SHAPES = {
    "w1": (32, 16, 3, 3), "w2": (32, 32, 3, 3), "w3": (64, 32, 1, 1), "w4": (32, 64, 3, 3), "w5": (64, 32),
    "w6": (32, 64), "b1": (32,), "b2": (64,), "gain": (64,), **dict.fromkeys((f"k{n}" for n in range(1, 7)), (64, 64)),
}  # fmt: skip
CONSTANTS = {
    "lo": np.array(0, np.float32),
    "hi": np.array(6, np.float32),
    "heads": np.array([1, 16, 2, 32]),
    "flat": np.array([1, 16, 64]),
}

HALVES = [pytest.param("float16", marks=needs("QuantizeLinear of opset 23")), "float32"]


def network(text: str) -> onnx.ModelProto:
    model = onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["": 17]> net {text}')
    rng, names = np.random.default_rng(0), {name for node in model.graph.node for name in node.input}
    for name, shape in SHAPES.items():
        data = rng.normal(size=shape) * 1.4 / np.sqrt(np.prod(shape[1:])) + (name == "gain")
        if name in names:
            model.graph.initializer.append(onnx.numpy_helper.from_array(data.astype(np.float32), name))
    for name in sorted(names & CONSTANTS.keys()):
        model.graph.initializer.append(onnx.numpy_helper.from_array(CONSTANTS[name], name))
    return model


def feeds(shape: tuple[int, ...]) -> Feeds:
    rng = np.random.default_rng(1)
    return [{"x": rng.normal(size=shape).astype(np.float32)} for _ in range(4)]


def default_session(model: ir.Model) -> onnxruntime.InferenceSession:
    """Open a session as an application does that knows nothing of the target."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(to_bytes(model), options, providers=["CPUExecutionProvider"])


def graph(text: str, **weights: NDArray[np.generic]) -> ir.Model:
    proto = onnx.parser.parse_model(f'<ir_version: 11, opset_import: ["": 23]> g {text}')
    for name, data in weights.items():
        proto.graph.initializer.append(onnx.numpy_helper.from_array(data, name))
    model = load(proto)
    InferShapes()(model)
    return model


@pytest.mark.parametrize("precision", HALVES)
@pytest.mark.parametrize("recipe", ["int8-plain", "fp8"])
@pytest.mark.parametrize("target", ["tensorrt", "tensorrt-rtx"])
@pytest.mark.parametrize("name", NETWORKS)
def test_a_default_session_computes_what_the_graph_says(
    name: str, target: str, recipe: str, precision: Precision, deviation: Deviation
) -> None:
    text, shape = NETWORKS[name]
    data = feeds(shape)
    model = requant.optimize(network(text), data, recipe, target, precision=precision).model
    written, default = runner(model, optimized=False), default_session(model)
    # a default session sums in another order, and in float32 it has kernels that add the bias in int32
    for feed in data:
        assert deviation(written(feed), default.run(None, feed)) < (0.02 if precision == "float32" else 1e-3)


SCALES: dict[str, NDArray[np.generic]] = {
    "s": np.array(0.05, np.float16),
    "t": np.array(0.05, np.float32),
    "z": np.array(0, np.int8),
}
PRODUCT = """q = QuantizeLinear (x, s, z) d = DequantizeLinear <output_dtype = 10> (q, t, z)
    v = DequantizeLinear <output_dtype = 10> (w, t)"""


@pytest.mark.parametrize("between", ["Relu (a)", "Clip (a)", "MaxPool <kernel_shape = [1, 1]> (a)"])
def test_a_bias_is_added_behind_a_conv_whose_output_is_quantized(between: str) -> None:
    model = graph(
        f"""(float16[1,2,4,4] x) => (int8[1,2,4,4] y) {{
            {PRODUCT} a = Conv (d, v, b) r = {between} y = QuantizeLinear (r, s, z) }}""",
        w=np.ones((2, 2, 1, 1), np.int8), b=np.ones(2, np.float16), **SCALES,
    )  # fmt: skip
    PreventFusions()(model)
    conv, total = listing(model)[3:5]
    assert conv.endswith("= Conv(d, v)")
    assert total.startswith("a = Add(")
    assert [value.shape for name, value in model.graph.initializers.items() if "behind" in name] == [(2, 1, 1)]


def test_other_convs_keep_their_bias() -> None:
    model = graph(
        f"(float16[1,2,4,4] x) => (float16[1,2,4,4] y) {{ {PRODUCT} a = Conv (d, v, b) y = Sigmoid (a) }}",
        w=np.ones((2, 2, 1, 1), np.int8), b=np.ones(2, np.float16), **SCALES,
    )  # fmt: skip
    before = listing(model)
    assert not PreventFusions()(model).modified
    assert listing(model) == before


@pytest.mark.parametrize(
    ("shape", "text", "expected"),
    [
        ("1,4,2", "a = MatMul (d, v) y = Add (b, a)", "y = Add(b.row, a)"),
        ("4,2", "y = Gemm (d, v, b)", "y = Gemm(d, v, b.row)"),
    ],
)
def test_a_bias_of_a_product_is_a_row(shape: str, text: str, expected: str) -> None:
    model = graph(
        f"(float16[{shape}] x) => (float16[{shape}] y) {{ {PRODUCT} {text} }}",
        w=np.ones((2, 2), np.int8), b=np.ones(2, np.float16), **SCALES,
    )  # fmt: skip
    PreventFusions()(model)
    assert listing(model)[-1] == expected
    assert model.graph.initializers["b.row"].shape == (1, 2)


@pytest.mark.parametrize(("op", "kept"), [("Relu", 2), ("Clip", 2), ("Tanh", 3)])
def test_float8_behind_a_relu_has_its_type_from_an_attribute(op: str, kept: int) -> None:
    text = f"(float[4] x) => (float8e4m3fn[4] y) {{ r = {op} (x) y = QuantizeLinear (r, t, z) }}"
    proto = onnx.parser.parse_model(f'<ir_version: 9, opset_import: ["": 19]> g {text}')
    zero = onnx.helper.make_tensor("z", onnx.TensorProto.FLOAT8E4M3FN, (), [0.0])
    proto.graph.initializer.extend([onnx.numpy_helper.from_array(SCALES["t"], "t"), zero])
    model = load(proto)
    PreventFusions()(model)
    quantize = model.graph[-1]
    assert len(quantize.inputs) == kept
    assert ("output_dtype" in quantize.attributes) == (kept == 2)
    assert model.graph.opset_imports[""] == (21 if kept == 2 else 19)
    onnx.checker.check_model(ir.to_proto(model), full_check=True)


@pytest.mark.trt
@needs_tensorrt_rtx
@pytest.mark.parametrize("recipe", ["int8-plain", "fp8"])
@pytest.mark.parametrize("target", ["tensorrt", "tensorrt-rtx"])
@pytest.mark.parametrize("name", NETWORKS)
def test_no_kernel_changes(name: str, target: str, recipe: str, monkeypatch: pytest.MonkeyPatch) -> None:
    text, shape = NETWORKS[name]

    def kernels() -> tuple[int, float]:
        model = requant.optimize(network(text), feeds(shape), recipe, target).model
        built = tally(model, "tensorrt-rtx", capability="8.9")
        return len(built.kernels), built.megabytes

    spelled = kernels()
    monkeypatch.setattr(result, "PreventFusions", lambda: lambda model: None)
    assert kernels() == spelled
