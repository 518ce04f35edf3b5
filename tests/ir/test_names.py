"""Names that passes choose, and models whose values have such names already."""

from collections.abc import Callable

import numpy as np
import onnx
import onnx_ir as ir
import pytest

import requant
from requant.ir.load import load
from requant.ir.names import forget_names, fresh_name
from requant.result import Precision
from requant.runtime.outputs import numbers
from requant.runtime.session import runner
from tests.passes.optimized import before_exact_scales

Build = Callable[[str], onnx.ModelProto]
RANDOM = np.random.default_rng(0)
HOT = np.where(np.arange(32) % 11 == 3, 20, 1)
X = [{"x": (RANDOM.standard_normal((8, 4, 32)) * HOT).astype(np.float32)} for _ in range(2)]

GRAPH = """(float[8, 4, 32] x) => (float[8, 4, 32] y)
    <float[32] GAMMA, float[32] beta, float[32, 32] kernel, float[32] bias, float[32, 32] out> {
    norm = LayerNormalization<axis = -1>(x, GAMMA, beta)  h = MatMul(norm, kernel)  a = Add(h, bias)
    ACT = com.microsoft.Gelu(a)  TAIL = MatMul(ACT, out)  y = Neg(TAIL) }"""

OURS = ("scale", "codes", "zero_point", "dequantized", "bias", "float16", "probe.on", "probe.out", "rebased")


@pytest.mark.parametrize("part", OURS)
@pytest.mark.parametrize("target", ["cpu", "tensorrt"])
@pytest.mark.parametrize("precision", ["float32", "float16"])
def test_values_may_be_called_as_ours_are(part: str, target: str, precision: Precision, build: Build) -> None:
    names = {"GAMMA": f"norm.{part}", "ACT": f"a.{part}", "TAIL": f"kernel.{part}"}
    proto = build(GRAPH)
    _rename(proto, names)
    result = requant.optimize(proto, X, target=target, precision=precision)
    assert all(layer.quantized for layer in result.report.layers)
    outputs = [value.name for node in result.model.graph for value in node.outputs]
    all_names = [*outputs, *result.model.graph.initializers, *(value.name for value in result.model.graph.inputs)]
    assert len(all_names) == len(set(all_names))
    expected, actual = (numbers(runner(model)(X[0])) for model in (load(proto), before_exact_scales(result.model)))
    assert np.linalg.norm(expected - actual) <= 0.05 * np.linalg.norm(expected)


def test_names_are_unique_also_in_bodies(build: Build) -> None:
    graph = ir.from_proto(
        build("""(float[4] x) => (float[4] y) <float[4] w> {
        c = ReduceMax<keepdims = 0>(x)  p = Greater(c, c)
        t = If (p) <then_branch = a () => (float[4] in_a) { in_a = Relu(x) },
                    else_branch = b () => (float[4] in_b) { in_b = Add(x, w) }>
        y = Neg(t) }""")
    ).graph
    for name in ("x", "w", "t", "in_b"):
        assert fresh_name(graph, name) == f"{name}.1"
        assert fresh_name(graph, name) == f"{name}.2"
    assert [fresh_name(graph, "new") for _ in range(3)] == ["new", "new.1", "new.2"]
    forget_names(graph)
    assert fresh_name(graph, "new") == "new"


def _rename(proto: onnx.ModelProto, names: dict[str, str]) -> None:
    for node in proto.graph.node:
        for values in (node.input, node.output):
            values[:] = [names.get(value, value) for value in values]
    for tensor in proto.graph.initializer:
        tensor.name = names.get(tensor.name, tensor.name)
