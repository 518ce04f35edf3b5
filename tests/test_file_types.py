"""Files in float16, bfloat16 and float64: quantized as those in float32, and in their own types outside of that."""

import warnings
from collections.abc import Callable
from typing import TypeAlias

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from numpy.typing import NDArray

import requant
from requant.runtime.feeds import Feed
from requant.runtime.session import runner
from tests.engine import needs

Build: TypeAlias = Callable[[str], onnx.ModelProto]

KINDS = {"float16": ir.DataType.FLOAT16, "bfloat16": ir.DataType.BFLOAT16, "double": ir.DataType.DOUBLE}

NETS = {
    "mlp": """(float16[N,64] x) => (float16[N,32] y) <float16[64,64] w, float16[64] b, float16[64,32] v> {
        m = MatMul(x, w) a = Add(m, b) r = Relu(a) y = MatMul(r, v) }""",
    "conv": """(float16[N,64] x) => (float16[N,32] y)
        <float16[32,16,3,3] k, float16[64,32,3,3] l, float16[64,32] v, int64[4] shape = {0, 16, 2, 2}> {
        i = Reshape(x, shape) c = Conv <pads = [1,1,1,1]> (i, k) r = Relu(c) d = Conv <pads = [1,1,1,1]> (r, l)
        p = GlobalAveragePool(d) f = Flatten(p) y = MatMul(f, v) }""",
    "block": """(float16[N,64] x) => (float16[N,64] y) <float16[64] g, float16[64,64] w, float16[64,64] v> {
        c = Cast <to = 1> (x) n = LayerNormalization(c, h) d = Cast <to = 10> (n) e = Mul(d, g) m = MatMul(e, w)
        s = Cast <to = 1> (m) p = Softmax(s) t = Cast <to = 10> (p) u = MatMul(t, v) y = Add(u, x) }""",
}
LAYERS = {"mlp": 2, "conv": 3, "block": 2}


def source(net: str, kind: str, build: Build) -> onnx.ModelProto:
    text = NETS[net].replace("float16", kind).replace("to = 10", f"to = {int(KINDS[kind])}")
    proto = build(text.replace("(x) n =", "(x) n =").replace("<", "<float[64] h, ", 1) if net == "block" else text)
    for tensor in proto.graph.initializer:
        array = onnx.numpy_helper.to_array(tensor)
        if array.dtype.kind == "i":
            continue
        fan_in = array.size // len(array) if array.ndim == 4 else len(array)
        scale = 1 if array.ndim == 1 else fan_in**-0.5
        tensor.CopyFrom(
            onnx.numpy_helper.from_array((array.astype(np.float64) * scale).astype(array.dtype), tensor.name)
        )
    return proto


def feeds(count: int, seed: int, dtype: type[np.generic] = np.float32) -> list[Feed]:
    rng = np.random.default_rng(seed)
    return [{"x": rng.normal(size=(4, 64)).astype(dtype)} for _ in range(count)]


def optimized(proto: onnx.ModelProto, target: str, **options: object) -> requant.Result:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", requant.CalibrationWarning)
        return requant.optimize(proto, feeds(48, 0), target=target, **options)  # type: ignore[arg-type]  # options of optimize


def ports(model: ir.Model) -> set[ir.DataType | None]:
    return {value.dtype for value in (*model.graph.inputs, *model.graph.outputs)}


@needs("rounding of halves to the nearest code")
@pytest.mark.usefixtures("integer_convs_are_free")
@pytest.mark.parametrize("target", ["cpu", "tensorrt"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("net", NETS)
def test_every_layer_is_quantized_and_the_interface_is_that_of_the_file(
    net: str, kind: str, target: str, build: Build
) -> None:
    proto = source(net, kind, build)
    before = proto.SerializeToString()
    result = optimized(proto, target)
    assert proto.SerializeToString() == before
    assert [layer.quantized for layer in result.report.layers] == [True] * LAYERS[net]
    assert ports(result.model) == {KINDS[kind]}
    assert result.report.outputs["y"].sqnr > 28
    assert requant.compare(proto, result.model, feeds(8, 1)).outputs["y"].sqnr > 28
    assert requant.check(result.model, target) == []
    onnx.checker.check_model(ir.to_proto(result.model), full_check=True)
    assert result.report.precision == (kind if target == "tensorrt" and kind != "double" else "float32")


@needs("rounding of halves to the nearest code")
@pytest.mark.parametrize("kind", ["float16", "bfloat16"])
def test_an_engine_with_half_precision_has_it_outside_of_what_is_quantized(kind: str, build: Build) -> None:
    model = optimized(source("block", kind, build), "tensorrt").model
    wide = {node.op_type for node in model.graph for value in node.outputs if value.dtype == ir.DataType.FLOAT}
    assert wide == {"Cast", "LayerNormalization", "Softmax"}, "what the file has in float32"


@pytest.mark.parametrize("kind", KINDS)
def test_the_plan_is_close_to_that_of_the_same_file_in_float32(kind: str, build: Build) -> None:
    results = [optimized(source("mlp", each, build), "cpu") for each in (kind,)]
    wide = onnx.ModelProto()
    wide.CopyFrom(source("mlp", kind, build))
    for tensor in wide.graph.initializer:
        array = onnx.numpy_helper.to_array(tensor).astype(np.float32)
        tensor.CopyFrom(onnx.numpy_helper.from_array(array, tensor.name))
    for value in (*wide.graph.input, *wide.graph.output):
        value.type.tensor_type.elem_type = onnx.TensorProto.FLOAT
    results.append(optimized(wide, "cpu"))
    one, other = (result.report.outputs["y"].sqnr for result in results)
    assert abs(one - other) < 3, "rounded data fall into other parts"


@pytest.mark.parametrize("kind", ["float16", "double"])
def test_data_may_be_in_any_floating_point_type(kind: str, build: Build) -> None:
    proto = source("mlp", kind, build)
    models = [requant.optimize(proto, feeds(16, 0, dtype), target="cpu").model for dtype in (np.float32, np.float64)]
    one, other = (ir.to_proto(model).SerializeToString() for model in models)
    assert one == other


def test_one_plan_gives_every_engine_its_own_types(build: Build) -> None:
    result = optimized(source("mlp", "float16", build), "cpu")
    inside = {target: _inside(result.lower(target)) for target in ("cpu", "tensorrt", "openvino")}
    assert inside == {"cpu": {"FLOAT"}, "tensorrt": {"FLOAT16"}, "openvino": {"FLOAT16"}}
    assert _inside(result.lower("tensorrt", precision="float32")) == {"FLOAT"}
    assert _inside(result.lower("tensorrt", precision="bfloat16")) == {"BFLOAT16"}
    assert ports(result.lower("tensorrt", precision="bfloat16")) == {ir.DataType.FLOAT16}


def _inside(model: ir.Model) -> set[str]:
    made = (value for node in model.graph for value in node.outputs if node.op_type in ("Relu", "Add"))
    return {str(value.dtype) for value in made}


def test_float64_stays_where_a_model_needs_it(build: Build) -> None:
    """A time in seconds has ten digits, of which float32 keeps seven."""
    proto = build("""(double[N,64] x, double[N,64] t) => (double[N,8] y)
        <double[64,32] w, double[32,8] v, double now = {1.7e9}> {
        s = Sub(t, now) a = Add(x, s) h = MatMul(a, w) y = Einsum<equation = "ni,io->no">(h, v) }""")
    rng = np.random.default_rng(0)
    data = {"x": rng.normal(size=(16, 64)), "t": 1.7e9 + rng.normal(size=(16, 64))}
    result = requant.optimize(proto, data, target="cpu")
    assert result.report.message.startswith("nothing to quantize: the model needs float64: float32 in place of float64")
    assert [(layer.op_type, layer.quantized) for layer in result.report.layers] == [
        ("MatMul", False),
        ("Einsum", False),
    ]
    assert "needs float64" in result.report.layers[0].reason
    assert ir.to_proto(result.model).SerializeToString() == ir.to_proto(ir.from_proto(proto)).SerializeToString()


def test_inspect_and_benchmark_take_half_precision(build: Build) -> None:
    proto = source("block", "bfloat16", build)
    assert [site.kind for site in requant.inspect(proto).sites]
    (latency,) = requant.benchmark([proto], feeds(1, 0), runs=1, threads=1)
    assert latency.median > 0


def test_the_artifact_for_a_cpu_runs_on_the_types_of_the_file(build: Build) -> None:
    model = optimized(source("mlp", "float16", build), "cpu").model
    feed: dict[str, NDArray[np.generic]] = {"x": np.ones((2, 64), np.float16)}
    assert runner(model, optimized=True, threads=1)(feed)[0].dtype == np.float16
