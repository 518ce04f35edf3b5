"""A ConvTranspose is quantized where the engine has an integer one: on OpenVINO, of data without negative values."""

import importlib.util

import numpy as np
import onnx
import onnx_ir as ir
import pytest

import requant
from requant.ir.load import load
from requant.runtime.openvino import compile_model, kernels
from requant.runtime.outputs import numbers
from requant.runtime.session import runner
from tests.passes.weighted import weighted

WEIGHTS = {"w": (32, 24, 4, 4), "b": (24,), "g": (32, 12, 4, 4)}
X = {"x": np.random.default_rng(1).normal(size=(4, 32, 6, 6)).astype(np.float32)}
PADS = "strides = [2, 2], pads = [1, 1, 1, 1]"
ONE_SIDED = f"r = Relu(x) y = ConvTranspose<{PADS}>(r, w, b)"
SIGNED = f"y = ConvTranspose<{PADS}>(x, w, b)"
GROUPED = f"r = Relu(x) y = ConvTranspose<{PADS}, group = 2>(r, g, b)"


def source(body: str) -> onnx.ModelProto:
    return weighted(f"(float[n, 32, 6, 6] x) => (float[n, 24, 12, 12] y) {{ {body} }}", WEIGHTS)


def test_one_sided_data_have_zero_point_0() -> None:
    proto = source(ONE_SIDED)
    result = requant.optimize(proto, [X], target="openvino")
    (layer,) = result.report.layers
    assert (layer.op_type, layer.format) == ("ConvTranspose", "int8 by int8")
    (node,) = (node for node in result.model.graph if node.op_type == "QuantizeLinear")
    zero_point = node.inputs[2]
    assert zero_point is not None
    assert zero_point.const_value is not None
    assert zero_point.dtype == ir.DataType.UINT8
    assert zero_point.const_value.numpy() == 0
    weight = next(node.inputs[1] for node in result.model.graph if node.op_type == "ConvTranspose")
    assert weight is not None
    dequantizer = weight.producer()
    assert dequantizer is not None
    assert dequantizer.attributes.get_int("axis", 0) == 1
    expected, actual = (numbers(runner(model)(X)[0]) for model in (load(proto), result.model))
    assert np.linalg.norm(expected - actual) < 0.02 * np.linalg.norm(expected)


@pytest.mark.skipif(importlib.util.find_spec("openvino") is None, reason="needs openvino")
def test_openvino_runs_it_in_integers() -> None:
    model = requant.optimize(source(ONE_SIDED), [X], target="openvino").model
    precisions = [precision for kind, precision in kernels(compile_model(model)) if kind == "Deconvolution"]
    assert len(precisions) == 1
    assert "8" in precisions[0]


@pytest.mark.parametrize(
    ("body", "target", "reason"),
    [
        (SIGNED, "openvino", "openvino has an integer ConvTranspose of data without negative values alone"),
        (GROUPED, "openvino", "no engine has an integer ConvTranspose in groups"),
        (ONE_SIDED, "cpu", "cpu has no integer ConvTranspose"),
        (ONE_SIDED, "tensorrt", "tensorrt has no integer ConvTranspose"),
    ],
)
def test_another_one_stays_in_float_with_its_reason(body: str, target: str, reason: str) -> None:
    report = requant.optimize(source(body), [X], target=target).report
    assert [layer.reason for layer in report.layers] == [reason]


def test_one_plan_serves_engines_with_and_without_it() -> None:
    result = requant.optimize(source(ONE_SIDED + " z = Relu(y)"), [X], target="openvino")
    assert "QuantizeLinear" not in {node.op_type for node in result.lower("tensorrt").graph}
