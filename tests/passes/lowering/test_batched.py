"""A batch of matrices: a scale for each output channel of each, on every engine."""

import importlib.util

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from numpy.typing import NDArray

import requant
from requant.calib.collect import collect
from requant.ir.canonical.canonicalize import canonicalize
from requant.ir.channels.find import Site, find_sites
from requant.ir.formats import FP8, INT8, Format
from requant.ir.linear import find_linears
from requant.ir.load import load
from requant.ir.quantizer import quantizer
from requant.ir.transform.apply import apply_transform
from requant.ir.transform.transform import ChannelTransform
from requant.passes import InsertQDQ, PlanQuantizers
from requant.runtime.check import check
from requant.runtime.openvino import compile_model, kernels
from requant.runtime.session import runner

Feed = dict[str, NDArray[np.float32]]

MODEL = """<ir_version: 8, opset_import: ["": 17]> g (float[2, 4, 8, 32] x) => (float[2, 4, 8, 48] y) {
    n = LayerNormalization(x, g, b) m = MatMul(n, w) a = Add(m, c) r = Relu(a) y = MatMul(r, v) }"""
SIZES = np.array([1, 8, 0.1, 1], np.float32).reshape(4, 1, 1)


def source() -> onnx.ModelProto:
    rng = np.random.default_rng(0)
    weights = {
        "g": rng.uniform(0.5, 2, 32),
        "b": rng.normal(size=32),
        "w": rng.normal(size=(4, 32, 40)) * SIZES / 6,
        "c": rng.normal(size=40),
        "v": rng.normal(size=(4, 40, 48)) / 6,
    }
    proto = onnx.parser.parse_model(MODEL)
    arrays = {name: array.astype(np.float32) for name, array in weights.items()}
    proto.graph.initializer.extend(onnx.numpy_helper.from_array(array, name) for name, array in arrays.items())
    return proto


def feed(seed: int = 1) -> Feed:
    return {"x": np.random.default_rng(seed).normal(size=(2, 4, 8, 32)).astype(np.float32)}


def lowered(target: str, fmt: Format = INT8) -> ir.Model:
    model = load(source())
    canonicalize(model, fmt.opset)
    collect(model, [feed()])
    PlanQuantizers((fmt,))(model)
    InsertQDQ(target)(model)
    assert check(model, target) == []
    return model


def numbers(model: ir.Model) -> NDArray[np.float32]:
    (output,) = runner(model)(feed())
    assert isinstance(output, np.ndarray)
    return output.astype(np.float32)


def sqnr(expected: NDArray[np.float32], actual: NDArray[np.float32]) -> float:
    return float(10 * np.log10(np.square(expected).sum() / np.square(expected - actual).sum()))


def test_every_matrix_has_scales_of_its_own() -> None:
    model = load(source())
    canonicalize(model)
    collect(model, [feed()])
    PlanQuantizers()(model)
    first, _ = find_linears(model.graph)
    plan = quantizer(first.weight)
    assert plan is not None
    assert plan.scale.shape == (4, 1, 40)
    assert first.weight.const_value is not None
    weight = first.weight.const_value.numpy()
    integers = plan.encode(weight)
    np.testing.assert_array_equal(np.abs(integers).max(axis=1), 127)
    np.testing.assert_allclose(plan.decode(integers), weight, atol=float(plan.scale.max()) / 2)


def test_integer_products_scale_each_matrix() -> None:
    model = lowered("cpu")
    (multiply, _) = (node for node in model.graph if node.op_type == "MatMulInteger")
    (cast,) = multiply.outputs[0].uses()
    (scale,) = cast.node.outputs[0].uses()
    assert scale.node.op_type == "Mul"
    factor = scale.node.inputs[1]
    assert factor is not None
    assert factor.shape == ir.Shape((4, 1, 40))


@pytest.mark.parametrize("target", ["tensorrt", "openvino"])
def test_a_dequantizer_has_one_scale_and_the_product_a_factor(target: str) -> None:
    model = lowered(target)
    for node in model.graph:
        if node.op_type == "MatMul":
            assert node.inputs[1] is not None
            dequantizer = node.inputs[1].producer()
            assert dequantizer is not None
            assert "axis" not in dequantizer.attributes
            assert dequantizer.inputs[1] is not None
            assert dequantizer.inputs[1].shape == ir.Shape(())
            (use,) = node.outputs[0].uses()
            assert use.node.op_type == "Mul"


@pytest.mark.parametrize("target", ["cpu", "tensorrt", "openvino"])
def test_every_engine_comes_close_to_the_float_model(target: str) -> None:
    assert sqnr(numbers(load(source())), numbers(lowered(target))) > 25


def test_e4m3_too() -> None:
    assert sqnr(numbers(load(source())), numbers(lowered("tensorrt", FP8))) > 20


@pytest.mark.skipif(importlib.util.find_spec("openvino") is None, reason="OpenVINO is not installed")
def test_openvino_multiplies_integers() -> None:
    compiled = compile_model(lowered("openvino"))
    products = [kind for kind in kernels(compiled) if "MatMul" in str(kind)]
    assert len(products) == 2


def test_its_inputs_are_scaled_and_not_shifted() -> None:
    model = load(source())
    canonicalize(model)
    expected = numbers(model)
    sites = [site for site in find_sites(model) if isinstance(site, Site)]
    assert [site.kind for site in sites] == ["LayerNorm", "Linear"]
    rng = np.random.default_rng(2)
    for site in sites:
        assert site.shift_blocked
        apply_transform(site, ChannelTransform(rng.uniform(0.5, 2, site.channels), np.zeros(site.channels)))
    np.testing.assert_allclose(numbers(model), expected, atol=1e-4 * np.abs(expected).max())


@pytest.mark.parametrize(
    ("recipe", "reason"),
    [
        ("int8-weight", "cpu has no product of float data by a batch of quantized matrices"),
        ("int4-weight", "the weight of a batched MatMul has no blocks of rows"),
    ],
)
def test_float_data_are_not_multiplied_by_it(recipe: str, reason: str) -> None:
    report = requant.optimize(source(), recipe=recipe, target="cpu").report
    assert [layer.reason for layer in report.layers] == [reason] * 2


def test_dynamic_scales() -> None:
    result = requant.optimize(source(), recipe="int8-dynamic", target="cpu")
    assert all(layer.format == "dynamic int8 by int8" for layer in result.report.layers)
    assert sqnr(numbers(load(source())), numbers(result.model)) > 25
