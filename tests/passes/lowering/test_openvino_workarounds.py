"""A quantized Conv with several consumers has a bias for OpenVINO, which then computes what the artifact says."""

import importlib.util
from typing import Literal

import numpy as np
import onnx
import pytest

import requant
from requant.ir.constants import array
from requant.runtime.outputs import numbers
from requant.runtime.session import runner
from tests.engine import needs
from tests.passes.weighted import weighted

WEIGHTS = {"w": (24, 32, 3, 3), "b": (24,)}
X = {"x": np.random.default_rng(1).normal(size=(2, 32, 6, 6)).astype(np.float32)}
SHARED = "c = Conv(x, w) g = GlobalAveragePool(c) y = Mul(c, g)"
WITH_BIAS = SHARED.replace("w)", "w, b)", 1)
READ_ONCE = "c = Conv(x, w) y = Relu(c)"


def source(body: str) -> onnx.ModelProto:
    return weighted(f"(float[n, 32, h, w0] x) => (float[n, 24, h1, w1] y) {{ {body} }}", WEIGHTS)


@pytest.mark.parametrize(
    ("body", "target", "bias"),
    [
        (SHARED, "openvino", "smallest"),
        (SHARED, "tensorrt", "none"),
        (WITH_BIAS, "openvino", "its own"),
        (READ_ONCE, "openvino", "none"),
    ],
)
def test_the_bias(body: str, target: str, bias: str) -> None:
    model = requant.optimize(source(body), [X], target=target, recipe="int8-plain").model
    (conv,) = (node for node in model.graph if node.op_type == "Conv")
    written = array(conv.inputs[2]) if len(conv.inputs) > 2 else None
    kind = "none" if written is None else "smallest" if np.all(written == 2**-24) else "its own"
    assert kind == bias
    assert requant.check(model, "openvino") == [] or target == "tensorrt"


@pytest.mark.skipif(importlib.util.find_spec("openvino") is None, reason="needs openvino")
@pytest.mark.parametrize("precision", ["float32", pytest.param("float16", marks=needs("QuantizeLinear of opset 23"))])
def test_openvino_computes_the_artifact(precision: Literal["float32", "float16"]) -> None:
    model = requant.optimize(source(SHARED), [X], target="openvino", precision=precision).model
    expected, actual = (numbers(runner(model, target=target)(X)[0]) for target in ("cpu", "openvino"))
    bound = 1e-5 if precision == "float32" else 2e-2
    assert np.linalg.norm(actual - expected) < bound * np.linalg.norm(expected)
