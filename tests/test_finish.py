"""Models that are quantized in part: what is quantized stays as it is, and the rest is quantized beside it."""

import warnings
from collections import Counter
from collections.abc import Callable
from typing import TypeAlias

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from numpy.typing import NDArray

import requant
from requant.ir.linear import find_linears
from requant.ir.load import load
from requant.ir.quantized import stored_quantizer
from requant.ir.quantizer import Quantizer
from requant.ir.refusal import Refusal
from requant.passes.records import AS_IN_FILE
from requant.runtime.feeds import Feed
from requant.runtime.session import runner

Build: TypeAlias = Callable[[str], onnx.ModelProto]

TAIL = "r = Relu(a) c = MatMul(r, v) y = Add(c, b) }"
HEAD = "(float[N,64] x) => (float[N,64] y) <float[64,64] v, float[64] b, float s = {0.04}, float t = {0.03}> {"
PARTS = {
    "Q and DQ": "q = QuantizeLinear(x, s, z) d = DequantizeLinear(q, s, z) w = DequantizeLinear <axis = 1> (i, j)"
    " a = MatMul(d, w)",
    "a compressed weight": "w = DequantizeLinear <axis = 1> (i, j) a = MatMul(x, w)",
    "integers": "q, qs, qz = DynamicQuantizeLinear(x) m = MatMulInteger(q, i, qz) f = Cast <to = 1> (m)"
    " p = Mul(qs, j) a = Mul(f, p)",
    "DynamicQuantizeMatMul": "a = com.microsoft.DynamicQuantizeMatMul(x, i, j)",
    "QLinearMatMul": "q = QuantizeLinear(x, s, z) m = QLinearMatMul(q, s, z, i, j, o, t, z)"
    " a = DequantizeLinear(m, t, z)",
}
LEGAL = {"a compressed weight"}
"""Parts whose data are float, which need no permission."""


def proto(body: str, build: Build, zero: int = 0, dtype: type[np.generic] = np.int8) -> onnx.ModelProto:
    """Return the graph whose weights are the integers ``i`` with the scales ``j``, or small floats."""
    model, rng = build(body), np.random.default_rng(0)
    for tensor in model.graph.initializer:
        array = onnx.numpy_helper.to_array(tensor)
        if array.ndim == 2:
            tensor.CopyFrom(onnx.numpy_helper.from_array(array / 8, tensor.name))
    arrays: dict[str, NDArray[np.generic]] = {
        "i": rng.integers(-60, 61, (64, 64)).astype(np.int8),
        "j": np.full(64, 0.004, np.float32),
        "o": np.zeros(64, np.int8),
        "z": np.array(zero, dtype),
    }
    names = {name for node in model.graph.node for name in node.input}
    model.graph.initializer.extend(onnx.numpy_helper.from_array(arrays[name], name) for name in arrays.keys() & names)
    return model


def feeds(count: int, seed: int) -> list[Feed]:
    rng = np.random.default_rng(seed)
    return [{"x": rng.normal(size=(4, 64)).astype(np.float32)} for _ in range(count)]


def finished(model: onnx.ModelProto | ir.Model, target: str) -> requant.Result:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", requant.CalibrationWarning)
        return requant.optimize(model, feeds(16, 0), target=target, finish=True, precision="float32")


def ops(model: ir.Model) -> Counter[str]:
    return Counter(node.op_type for node in model.graph)


@pytest.mark.parametrize("target", ["cpu", "tensorrt"])
@pytest.mark.parametrize("part", PARTS)
def test_the_rest_is_quantized_beside_what_the_file_has(part: str, target: str, build: Build) -> None:
    model = proto(f"{HEAD} {PARTS[part]} {TAIL}", build)
    result = finished(model, target)
    in_file, planned = sorted(result.report.layers, key=lambda layer: layer.planned)
    assert (in_file.quantized, in_file.planned, in_file.format) == (True, False, AS_IN_FILE)
    assert (planned.quantized, planned.planned) == (True, True)
    assert requant.compare(model, result.model, feeds(8, 1)).outputs["y"].sqnr > 28
    kept = {node.op_type for node in model.graph.node} - {"MatMul"}
    assert kept <= ops(result.model).keys()
    stored = result.model.graph.initializers["i"].const_value
    assert stored is not None
    arrays = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    np.testing.assert_array_equal(stored.numpy(), arrays["i"])


@pytest.mark.parametrize("part", sorted(PARTS.keys() - LEGAL))
def test_without_being_asked_the_first_quantized_node_is_named(part: str, build: Build) -> None:
    model = proto(f"{HEAD} {PARTS[part]} {TAIL}", build)
    with pytest.raises(
        requant.SourceError, match=r"quantized already \(node '[qa]' is a .*\); finish=True or --finish"
    ):
        requant.optimize(model, feeds(4, 0))


SHARED = f"""(float[N,64] x) => (float[N,64] y)
    <float[64] g, float[64,64] u, float[64,64] v, float[64] b, float s = {{0.04}}> {{
    n = LayerNormalization(x, g) q = QuantizeLinear(n, s, z) d = DequantizeLinear(q, s, z)
    w = DequantizeLinear <axis = 1> (i, j) a1 = MatMul(d, w) a2 = MatMul(n, u) a = Add(a1, a2) {TAIL}"""


@pytest.mark.parametrize(
    "body",
    [
        f"{HEAD.replace('v,', 'v, float[64,64] u,')} q = QuantizeLinear(x, s, z) d = DequantizeLinear(q, s, z)"
        f" a = MatMul(d, u) {TAIL}",
        SHARED,
    ],
    ids=["made by a DQ", "read by a Q"],
)
@pytest.mark.parametrize("target", ["cpu", "tensorrt"])
def test_a_value_with_a_quantizer_gets_no_second_one(body: str, target: str, build: Build) -> None:
    model = proto(body, build)
    result = finished(model, target)
    assert all(layer.quantized for layer in result.report.layers)
    assert ops(result.model)["QuantizeLinear"] == 2, "that of the file, and that of what the last layer reads"
    assert requant.compare(model, result.model, feeds(8, 1)).outputs["y"].sqnr > 28


def test_a_zero_point_that_the_engine_does_not_take_leaves_the_layer_in_float(build: Build) -> None:
    body = (
        f"{HEAD.replace('v,', 'v, float[64,64] u,')} q = QuantizeLinear(x, s, z) d = DequantizeLinear(q, s, z)"
        f" e = Neg(d) a = MatMul(d, u) {TAIL}"
    )
    model = proto(body, build, zero=120, dtype=np.uint8)
    reasons = [layer.reason for layer in finished(model, "tensorrt").report.layers]
    assert reasons == ["its input is quantized already, with a zero point that tensorrt does not take", ""]
    assert [layer.quantized for layer in finished(model, "cpu").report.layers] == [True, True]


def test_an_artifact_is_finished_as_any_other_model(build: Build) -> None:
    """It has quantizers called as those that another run inserts."""
    model = proto(f"{HEAD.replace('v,', 'v, float[64,64] u,')} a = MatMul(x, u) {TAIL}", build)
    for number, node in enumerate(model.graph.node):
        node.name = f"n{number}"
    for target in ("cpu", "tensorrt"):
        first = requant.optimize(model, feeds(16, 0), target=target, keep=["n0"], precision="float32")
        second = finished(first.model, target)
        assert [layer.quantized for layer in second.report.layers] == [True, True]
        assert requant.check(second.model, target) == []
        assert finished(second.model, target).report.message == "nothing to quantize: every layer is quantized already"


def test_sites_of_quantized_values_are_refused(build: Build) -> None:
    body = (
        f"{HEAD.replace('v,', 'v, float[64,64] u,')} q = QuantizeLinear(x, s, z) d = DequantizeLinear(q, s, z)"
        f" l = Flatten(d) a = MatMul(l, u) {TAIL}"
    )
    result = finished(proto(body, build), "tensorrt")
    reasons = {site.name: site.reason for site in result.report.sites if site.kind == "Inserted"}
    assert reasons["l"] == "it is quantized already"


WIDE = f"{HEAD} q = QuantizeLinear(x, s, z) d = DequantizeLinear(q, s, z) a = MatMul(d, v) {TAIL}"


def test_the_quantizer_of_the_file_is_read_in_int8(build: Build) -> None:
    for zero, dtype, expected in ((0, np.int8, None), (128, np.uint8, None), (130, np.uint8, 2.0), (-3, np.int8, -3.0)):
        model = load(proto(WIDE, build, zero, dtype))
        first = next(find_linears(model.graph))
        stored = stored_quantizer(first.data)
        assert isinstance(stored, Quantizer)
        assert float(stored.scale) == np.float32(0.04)
        assert (stored.zero_point if stored.zero_point is None else float(stored.zero_point)) == expected
    wide = load(proto(WIDE, build, 0, np.uint16))
    refused = stored_quantizer(next(find_linears(wide.graph)).data)
    assert isinstance(refused, Refusal)
    assert "in uint16" in refused.reason


def test_integers_are_read_as_they_are(build: Build) -> None:
    """A Q of the same scale behind a DQ and a Transpose gives the integers back."""
    body = """(float[8,64] x) => (float[64,8] y) <float[64,64] v, float s = {0.04}> {
        q = QuantizeLinear(x, s, z) d = DequantizeLinear(q, s, z) p = Transpose(d) u = Transpose(p) m = MatMul(u, v)
        y = Transpose(m) }"""
    model = proto(body, build)
    data = [{"x": feed["x"].repeat(2, axis=0)} for feed in feeds(16, 0)]
    artifact = requant.optimize(model, data, "int8-plain", "tensorrt", finish=True, precision="float32").model
    names = [node.outputs[0].name or "" for node in artifact.graph if node.op_type == "DequantizeLinear"]
    values = dict(zip(names, runner(artifact, names)(data[0])[1:], strict=True))
    activations = [value for value in values.values() if value.shape in ((8, 64), (64, 8))]
    assert len({np.sort(value, axis=None).tobytes() for value in activations}) == 1
