"""Resize and Upsample of old opsets compute at a new opset what they did there."""

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper, numpy_helper

from requant.ir.canonical.canonicalize import canonicalize
from requant.ir.load import load
from requant.runtime.outputs import numbers
from requant.runtime.session import runner

X = {"x": np.random.default_rng(0).standard_normal((2, 3, 6, 8)).astype(np.float32)}
OPS = {"Upsample 7": (7, "Upsample"), "Upsample 9": (9, "Upsample"), "Resize 10": (10, "Resize")}
SCALES = {"both": (2, 2), "by three": (1, 3), "fractions": (1.5, 1.25), "four": (4, 4), "none": (1, 1)}
SMALLER = {"half": (0.5, 0.5), "two thirds": (2 / 3, 0.75), "one axis": (1, 0.5), "up and down": (0.5, 1.75)}


def _model(op: str, mode: str, scales: tuple[float, float], *, computed: bool = False) -> onnx.ModelProto:
    opset, op_type = OPS[op]
    factors = np.array([1, 1, *scales], np.float32)
    inputs, attributes = (["x"], {"scales": factors.tolist()}) if opset < 9 else (["x", "s"], {})
    tensors = [numpy_helper.from_array(factors, "s0" if computed else "s")] if opset >= 9 else []
    nodes = [helper.make_node(op_type, inputs, ["u"], mode=mode, **attributes), helper.make_node("Neg", ["u"], ["y"])]
    if computed:  # by an op that cannot be folded away
        nodes.insert(0, helper.make_node("Mul", ["s0", "one"], ["s"]))
        nodes.insert(0, helper.make_node("Div", ["m", "m"], ["one"]))
        nodes.insert(0, helper.make_node("ReduceMax", ["x"], ["m"], keepdims=0))
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 3, None, None]) for name in "xy"]
    graph = helper.make_graph(nodes, "g", ends[:1], ends[1:], tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=4)


@pytest.mark.parametrize("mode", ["linear", "nearest"])
@pytest.mark.parametrize(
    ("op", "scales"),
    [(op, scales) for op in OPS for scales in SCALES] + [("Resize 10", scales) for scales in SMALLER],
)
def test_they_compute_the_same(op: str, scales: str, mode: str) -> None:
    factors = {**SCALES, **SMALLER}[scales]
    _require_same(_model(op, mode, factors))


@pytest.mark.parametrize("mode", ["linear", "nearest"])
def test_scales_may_be_computed(mode: str) -> None:
    _require_same(_model("Resize 10", mode, (2.5, 2), computed=True))


def _require_same(proto: onnx.ModelProto) -> None:
    model = load(proto)
    before, expected = runner(load(proto)), None
    canonicalize(model)
    assert model.graph.opset_imports[""] >= 17
    onnx.checker.check_model(ir.to_proto(model), full_check=True)
    expected, actual = before(X)[0], runner(model)(X)[0]
    assert expected.shape == actual.shape
    np.testing.assert_allclose(numbers(actual), numbers(expected), atol=1e-5)
