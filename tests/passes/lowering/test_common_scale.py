"""A common scale of the weights that read one value, with the rest behind the product: the same numbers, in halves."""

from collections.abc import Callable

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from numpy.typing import NDArray

from requant.calib.collect import collect
from requant.ir.canonical.canonicalize import canonicalize
from requant.ir.constants import array
from requant.ir.formats import FP8, INT8, INT8_WEIGHT, Format
from requant.ir.load import load
from requant.passes import ConvertPrecision, InsertQDQ, PlanQuantizers, SelectLayers
from requant.passes.annotations import layer_records
from requant.runtime.check import check
from requant.runtime.session import runner
from tests.engine import needs

Arrays = list[NDArray[np.generic]]
Deviation = Callable[[Arrays, Arrays], float]

HALF = ir.DataType.FLOAT16
WEIGHTS = {"q": (32, 32), "k": (32, 32), "v": (32, 32), "b": (32,), "c": (32, 32, 3, 3), "d": (32, 32, 1, 1)}
WEIGHTS["pair"] = (32, 16, 3, 3)
QKV = """(float[8,32] x) => (float[8,32] y) {
    a = MatMul(x, q) e = MatMul(x, k) f = MatMul(x, v) g = Add(f, b) y = Sum(a, e, g) }"""
GEMM = "(float[8,32] x) => (float[8,32] y) { y = Gemm<alpha = 0.5, beta = 3.0, transB = 1>(x, q, b) }"
CONV = (
    "(float[2,32,6,6] x) => (float[2,32,6,6] y) { a = Conv<pads = [1, 1, 1, 1]>(x, c, b) r = Relu(a) y = Conv(r, d) }"
)
SUM = "(float[2,32,6,6] x) => (float[2,32,6,6] y) { r = Relu(x) a = Conv(r, d, b) s = Add(a, r) y = Relu(s) }"
SHARED = "(float[8,32] x) => (float[8,32] y) { a = MatMul(x, q) t = Tanh(a) y = MatMul(t, q) }"
GROUPED = "(float[2,32,6,6] x) => (float[2,32,4,4] y) { a = Conv(x, d) y = Conv<group = 2>(a, pair) }"
TWO = "(float[8,32] x) => (float[8,32] y) { a = MatMul(x, q) t = Tanh(a) y = MatMul(t, k) }"


def planned(text: str, fmt: Format = INT8, *, spread: float = 10.0, size: float = 1.0) -> ir.Model:
    """Return the graph with a plan; channels of a weight differ by a factor of ``spread``, and q is ``size`` large."""
    proto = onnx.parser.parse_model(f'<ir_version: 10, opset_import: ["": 23]> g {text}')
    rng, names = np.random.default_rng(0), {name for node in proto.graph.node for name in node.input}
    for name in sorted(names & WEIGHTS.keys()):
        data = (size if name == "q" else 1.0) * rng.normal(size=WEIGHTS[name])
        if data.ndim > 1:
            axis = 0 if data.ndim > 2 or "transB" in text else 1
            data *= np.expand_dims(np.geomspace(1, spread, 32), tuple(n for n in range(data.ndim) if n != axis))
            data *= 3 if name == "k" else 1
        proto.graph.initializer.append(onnx.numpy_helper.from_array(data.astype(np.float32), name))
    model = load(proto)
    canonicalize(model, 23)
    collect(model, [feed(model)])
    SelectLayers((), "tensorrt-rtx", (fmt,))(model)
    PlanQuantizers((fmt,))(model)
    return model


def feed(model: ir.Model) -> dict[str, NDArray[np.float32]]:
    (value,) = model.graph.inputs
    assert value.shape is not None
    return {"x": np.random.default_rng(1).normal(size=value.shape.numpy()).astype(np.float32)}


def lowered(plan: ir.Model, target: str = "tensorrt-rtx", body: ir.DataType = HALF) -> ir.Model:
    model = plan.clone()
    InsertQDQ(target, body=body)(model)
    return model


def weight_scales(model: ir.Model) -> list[NDArray[np.generic]]:
    scales = [array(node.inputs[1]) for node in model.graph if node.op_type == "DequantizeLinear"
              and node.inputs[0] is not None and node.inputs[0].const_value is not None]  # fmt: skip
    return [scale for scale in scales if scale is not None]


def ops(model: ir.Model) -> list[str]:
    return [node.op_type for node in model.graph if node.op_type not in ("QuantizeLinear", "DequantizeLinear")]


@needs("QuantizeLinear of opset 23")
@pytest.mark.parametrize("text", [QKV, GEMM, CONV, SUM, TWO])
@pytest.mark.parametrize("fmt", [INT8, FP8], ids=str)
def test_it_computes_the_same(text: str, fmt: Format, deviation: Deviation) -> None:
    plan = planned(text, fmt)
    common, single = lowered(plan), lowered(plan, "tensorrt")
    assert all(scale.shape == () for scale in weight_scales(common))
    assert all(scale.shape == (32,) for scale in weight_scales(single))
    assert [finding for finding in check(common, "tensorrt-rtx") if finding.rule != "quantized-residual"] == []
    x = feed(plan)
    assert deviation(runner(single, optimized=False)(x), runner(common, optimized=False)(x)) < 1e-5


@needs("QuantizeLinear of opset 23")
def test_in_halves_it_is_as_close_to_float() -> None:
    plan = planned(QKV)
    model = lowered(plan)
    ConvertPrecision()(model)
    exact = runner(planned(QKV), optimized=False)(feed(plan))[0]
    noise = [np.square(np.subtract(runner(one, optimized=False)(feed(plan))[0], exact)).sum()
             for one in (lowered(plan, "tensorrt"), model)]  # fmt: skip
    assert noise[1] < 1.05 * noise[0]


def test_layers_that_read_one_value_have_one_scale() -> None:
    plan = planned(QKV)
    expected = max(float(scale.max()) for scale in weight_scales(lowered(plan, "tensorrt")))
    assert [float(scale) for scale in weight_scales(lowered(plan))] == [np.float32(expected)] * 3


def test_others_have_scales_of_their_own() -> None:
    first, second = weight_scales(lowered(planned(TWO)))
    assert float(first) != float(second)


def test_a_bias_is_added_behind_the_factor() -> None:
    assert ops(lowered(planned(CONV))) == ["Conv", "Mul", "Add", "Relu", "Conv", "Mul"]


def test_a_residual_is_still_read_in_int8() -> None:
    model = lowered(planned(SUM))
    (total,) = [node for node in model.graph if node.op_type == "Add" and node.outputs[0].name == "s"]
    assert [node.op_type for node in total.predecessors()] == ["Add", "DequantizeLinear"]


@pytest.mark.parametrize(
    ("target", "body"), [("tensorrt", HALF), ("tensorrt-rtx", ir.DataType.FLOAT), ("openvino", HALF)]
)
def test_other_engines_and_float32_keep_the_scales_of_channels(target: str, body: ir.DataType) -> None:
    assert all(scale.shape == (32,) for scale in weight_scales(lowered(planned(QKV), target, body)))


def test_weight_only_and_shared_weights_keep_theirs() -> None:
    for plan in (planned(QKV, INT8_WEIGHT), planned(SHARED)):
        assert all(scale.shape == (32,) for scale in weight_scales(lowered(plan)))


def test_a_product_that_does_not_fit_a_half_keeps_the_scales_of_channels() -> None:
    plan = planned(TWO, size=3000.0)
    model = lowered(plan)
    first, second = weight_scales(model)
    assert first.shape == (32,)
    assert second.shape == ()
    assert [bool(layer.note) for layer in layer_records(model)] == [True, False]
    assert "products may reach" in layer_records(model)[0].note
    assert all(scale.shape == () for scale in weight_scales(lowered(plan, body=ir.DataType.BFLOAT16)))


def test_layers_that_read_one_value_keep_theirs_together() -> None:
    model = lowered(planned(QKV, size=3000.0))
    assert all(scale.shape == (32,) for scale in weight_scales(model))
    assert all("it keeps a scale for each channel" in layer.note for layer in layer_records(model))


def test_a_weight_that_another_layer_reads_keeps_the_scales_beside_it_too() -> None:
    text = """(float[8,32] x) => (float[8,32] y) {
        a = MatMul(x, q) e = MatMul(x, k) f = Add(a, e) t = Tanh(f) y = MatMul(t, q) }"""
    assert all(scale.shape == (32,) for scale in weight_scales(lowered(planned(text))))


def test_channels_that_are_0_do_not_set_the_scale() -> None:
    model = planned(TWO)
    weight = model.graph.initializers["q"]
    data = array(weight)
    assert data is not None
    zeros = data.copy()
    zeros[:, 5] = 0
    weight.const_value = ir.Tensor(zeros)
    PlanQuantizers((INT8,))(model)
    assert float(weight_scales(lowered(model))[0]) < 1


def test_a_grouped_conv_stays_in_float_on_tensorrt_rtx() -> None:
    plan = planned(GROUPED)
    model = lowered(plan)
    assert [layer.quantized for layer in layer_records(model)] == [True, False]
    assert "pads the channels of a grouped Conv" in layer_records(model)[1].reason
    assert [layer.quantized for layer in layer_records(lowered(plan, "tensorrt"))] == [True, True]
