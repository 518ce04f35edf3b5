"""A Q/DQ graph without its quantizers, as text, and the float16 baseline that is made of it."""

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from numpy.typing import NDArray

from models import synthetic
from requant import optimize
from requant.baseline import as_reference, without_quantizers
from requant.ir.load import load
from requant.runtime import runner
from requant.runtime.dtypes import dtypes
from requant.runtime.fixes.float_graph import float_graph
from requant.runtime.targets import target
from tests.runtime.test_fix_golden import text

HEADER = '<ir_version: 10, opset_import: ["": 23]> g '
ENGINE = target("tensorrt-rtx")
WEIGHTS: dict[str, NDArray[Any]] = {
    "W": np.arange(12, dtype=np.int8).reshape(4, 3),
    "sw": np.array([0.5, 0.25, 1], np.float32),
    "s": np.array(0.5, np.float32),
    "h": np.array(0.5, np.float16),
    "z": np.array(0, np.int8),
}


def build(body: str) -> ir.Model:
    proto = onnx.parser.parse_model(HEADER + body)
    reads = {name for node in proto.graph.node for name in node.input}
    proto.graph.initializer.extend(
        onnx.numpy_helper.from_array(array, name) for name, array in WEIGHTS.items() if name in reads
    )
    return ir.from_proto(proto)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (
            """(float[2,4] x) => (float[2,3] y) {
            q = QuantizeLinear(x, s, z) d = DequantizeLinear(q, s, z)
            w = DequantizeLinear <axis=1> (W, sw) y = MatMul(d, w) }""",
            """
d = Identity(x)
w = Identity(float[4, 3])
y = MatMul(d, w)""",
        ),
        (
            """(float16[2,4] x) => (float[2,4] y) {
            q = QuantizeLinear(x, h, z) y = DequantizeLinear(q, s, z) }""",
            """
y = Cast(x)""",
        ),
        (
            """(float[2,4] x) => (float[4,2] y) {
            q = QuantizeLinear(x, s, z) t = Transpose(q) y = DequantizeLinear(t, s, z) }""",
            """
q = QuantizeLinear(x, float 0.5, int8 0)
t = Transpose(q)
y = DequantizeLinear(t, float 0.5, int8 0)""",
        ),
    ],
    ids=["product", "two types", "moved integers stay"],
)
def test_quantizers_go(body: str, expected: str) -> None:
    model = build(body)
    before = text(model)
    assert text(float_graph(model, ENGINE)) == expected.strip()
    assert text(model) == before


def test_weights_have_the_values_of_their_integers() -> None:
    model = build(
        """(float[2,4] x) => (float[2,3] y) {
        q = QuantizeLinear(x, s, z) d = DequantizeLinear(q, s, z)
        w = DequantizeLinear <axis=1> (W, sw) y = MatMul(d, w) }"""
    )
    x = np.random.default_rng(0).standard_normal((2, 4)).astype(np.float32)
    (y,) = runner(float_graph(model, ENGINE))({"x": x})
    np.testing.assert_allclose(np.asarray(y, np.float32), x @ (WEIGHTS["W"] * WEIGHTS["sw"]), rtol=1e-6)


def test_a_reference_in_float32_is_halved_and_others_stay() -> None:
    model = load(synthetic.pre_norm(synthetic.Transformer(layers=1)))
    half = as_reference(model, ENGINE)
    assert (ir.DataType.FLOAT16 in dtypes(half), ir.DataType.FLOAT16 in dtypes(model)) == (True, False)
    assert as_reference(half, ENGINE) is half


def test_artifacts_in_both_precisions_have_one_baseline(
    deviation: Callable[[list[NDArray[Any]], list[NDArray[Any]]], float],
) -> None:
    spec = synthetic.Transformer(layers=1)
    feeds = [dict(feed) for feed in synthetic.feeds(spec, 4)]
    result = optimize(synthetic.pre_norm(spec), feeds, "int8-plain", "tensorrt-rtx", precision="float16")
    artifacts = result.model, result.lower("tensorrt-rtx", precision="float32")
    baselines = [without_quantizers(artifact, ENGINE) for artifact in artifacts]
    for baseline in baselines:
        assert not {node.op_type for node in baseline.graph} & {"QuantizeLinear", "DequantizeLinear"}
        assert ir.DataType.FLOAT16 in dtypes(baseline)
    first, second = (runner(baseline)(feeds[0]) for baseline in baselines)
    assert deviation(first, second) < 0.005
