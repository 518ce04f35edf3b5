"""LSTMs with constant weights are integer ones of ONNX Runtime where data are quantized at run time."""

import numpy as np
import onnx
import onnx_ir as ir
import pytest

import requant
from requant.ir.canonical.canonicalize import canonicalize
from requant.ir.load import load
from requant.ir.recurrent import DYNAMIC_LSTM, as_recurrent
from requant.ir.refusal import Refusal
from requant.runtime.outputs import numbers
from requant.runtime.session import runner
from tests.passes.weighted import weighted

WEIGHTS = {"w": (1, 96, 20), "r": (1, 96, 24), "b": (1, 192), "w2": (2, 96, 20), "r2": (2, 96, 24), "p": (1, 72),
           "thin": (1, 32, 8), "wt": (1, 32, 20), "h": (1, 3, 24), "m": (24, 24)}  # fmt: skip
X = {"x": np.random.default_rng(1).normal(size=(9, 3, 20)).astype(np.float32)}

FORMS = {
    "plain": "y = LSTM<hidden_size = 24>(x, w, r)",
    "with bias": "y = LSTM<hidden_size = 24>(x, w, r, b)",
    "with a state and peepholes": "y = LSTM<hidden_size = 24>(x, w, r, b, , h, h, p)",
    "both directions": 'y = LSTM<hidden_size = 24, direction = "bidirectional">(x, w2, r2)',
    "backwards": 'y = LSTM<hidden_size = 24, direction = "reverse">(x, w, r)',
    "the last state alone": ", y = LSTM<hidden_size = 24>(x, w, r)",
    "weights of two nodes": "a, s, c = LSTM<hidden_size = 24>(x, w, r) d, t, e = LSTM<hidden_size = 24>(x, w, r, b) "
    "y = Add(s, t)",
}
REFUSED = {
    "batch first": ("y = LSTM<hidden_size = 24, layout = 1>(x, w, r)", "time first"),
    "few channels": ("y = LSTM<hidden_size = 8>(x, wt, thin)", "8 hidden channels are too few"),
    "a computed weight": ("v = Mul(r, s) y = LSTM<hidden_size = 24>(x, w, v)", "computed at run time"),
    "another op": ("y = Relu(x)", "engines run Relu as one node in float"),
}


def source(body: str, inputs: str = "float[9,3,20] x") -> onnx.ModelProto:
    proto = weighted(f"({inputs}) => (float y) {{ {body} }}", WEIGHTS)
    proto.graph.output[0].type.tensor_type.ClearField("shape")
    return proto


def ops(model: ir.Model) -> list[str]:
    return [node.op_type for node in model.graph]


@pytest.mark.parametrize("name", FORMS)
def test_an_lstm_is_quantized(name: str) -> None:
    proto = source(FORMS[name])
    result = requant.optimize(proto, recipe="int8-dynamic", target="cpu")
    assert {layer.format for layer in result.report.layers} == {"dynamic int8 by int8"}
    assert "LSTM" not in ops(result.model)
    expected, actual = (numbers(runner(model)(X)[0]) for model in (load(proto), result.model))
    assert np.linalg.norm(expected - actual) < 0.04 * np.linalg.norm(expected)
    assert requant.check(result.model, "cpu") == []


def test_the_integers_are_the_nearest_of_each_gate_and_channel() -> None:
    proto = source(FORMS["plain"])
    model = requant.optimize(proto, recipe="int8-dynamic", target="cpu").model
    (node,) = model.graph
    integers, scale = (node.inputs[position] for position in (1, 8))
    assert integers is not None
    assert scale is not None
    assert integers.const_value is not None
    assert scale.const_value is not None
    steps = scale.const_value.numpy()
    assert steps.shape == (1, 96)
    weight = onnx.numpy_helper.to_array(next(item for item in proto.graph.initializer if item.name == "w"))
    dequantized = integers.const_value.numpy().transpose(0, 2, 1) * steps[..., None]
    assert np.all(np.abs(dequantized - weight) <= steps[..., None] * 0.501)


@pytest.mark.parametrize("name", REFUSED)
def test_another_one_stays_in_float_with_its_reason(name: str) -> None:
    body, reason = REFUSED[name]
    model = load(source(body, "float[9,3,20] x, float s"))
    canonicalize(model)
    view = as_recurrent(model.graph[-1])
    assert isinstance(view, Refusal)
    assert reason in view.reason


def test_calibrated_scales_leave_it_in_float() -> None:
    report = requant.optimize(source(FORMS["plain"]), [X], target="cpu").report
    assert [layer.reason for layer in report.layers] == [DYNAMIC_LSTM]
    assert report.message == f"nothing to quantize: every linear layer stays in float ({DYNAMIC_LSTM})"


def test_another_engine_runs_it_in_float() -> None:
    result = requant.optimize(source(FORMS["plain"]), recipe="int8-dynamic", target="cpu")
    assert ops(result.lower("tensorrt", precision="float32")) == ["LSTM"]


@pytest.mark.usefixtures("integers_are_free")
def test_it_can_be_kept() -> None:
    proto = source("a, h1, c = LSTM<hidden_size = 24>(x, w, r) s = Squeeze(h1) y = MatMul(s, m)")
    proto.graph.node[0].name = "cell"
    report = requant.optimize(proto, recipe="int8-dynamic", target="cpu", keep=["cell"]).report
    assert [(layer.op_type, layer.reason) for layer in report.layers] == [("LSTM", "kept by request"), ("MatMul", "")]


def test_a_model_with_one_is_quantized_already() -> None:
    result = requant.optimize(source(FORMS["plain"]), recipe="int8-dynamic", target="cpu")
    with pytest.raises(requant.RequantError, match="is a DynamicQuantizeLSTM"):
        requant.optimize(result.model)
