"""The care that safe fixes take: hidden Relus, other consumers, names, and that the engine gains as promised."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
from numpy.typing import NDArray
from onnx.parser import parse_model

from requant.ir.load import load
from requant.runtime import fix
from tests.runtime.check_blocks import NORM, OLD
from tests.runtime.check_graphs import CPU, INT8, ROWS, UINT8, M, W, X, graph, qdq
from tests.runtime.engine_facts import FLOAT_PRODUCTS, run_ops

Compute = Callable[[ir.Model], list[NDArray[np.float32]]]


def ops(model: ir.Model) -> list[str]:
    return [node.op_type for node in model.graph]


@pytest.mark.parametrize(("zero_point", "low"), [("u0", 0.0), ("i5", -13.3)])
def test_a_pair_that_is_not_symmetric_may_stand_for_a_relu_and_leaves_its_range(
    zero_point: str, low: float, compute: Compute
) -> None:
    fixed = fix(graph(qdq(zero_point) + "y = Erf (xd)"), "cpu")
    assert ops(fixed.model) == ["Clip", "Erf"]
    ends = f"l = Constant <value_float = {low}> () h = Constant <value_float = {low + 25.5}> ()"
    same = graph(ends + "c = Clip (x, l, h) y = Erf (c)")
    np.testing.assert_allclose(compute(fixed.model)[0], compute(same)[0], atol=1e-6)


def test_a_symmetric_pair_leaves_nothing() -> None:
    assert ops(fix(graph(UINT8 + "y = Erf (xd)"), "cpu").model) == ["Erf"]
    assert ops(fix(graph(INT8 + "y = Erf (xd)"), "tensorrt").model) == ["Erf"]


def test_inside_a_norm_no_range_is_left(tmp_path: Path) -> None:
    affine = "k = Mul (h, b) y = Add (k, b)"
    model = graph(NORM.replace("v =", qdq("u0", "p", "pd") + "v =").replace("(p)", "(pd)") + affine, **OLD)
    fixed = fix(model, "cpu")
    assert ops(fixed.model) == ops(graph(NORM + affine, **OLD))
    assert "LayerNormalization" not in run_ops(model, tmp_path)
    assert "LayerNormalization" in run_ops(fixed.model, tmp_path)


def test_only_layers_that_gain_nothing_go_back_to_float() -> None:
    thin = "td = DequantizeLinear (thin, s) t = MatMul (xd, td) c = Concat <axis = 2> (m, t) y = Relu (c)"
    fixed = fix(graph(INT8 + W + M + thin), "tensorrt")
    assert fixed.findings == []
    first, second = (node for node in fixed.model.graph if node.op_type == "MatMul")
    assert [maker.op_type for value in first.inputs if value and (maker := value.producer())] == [
        "DequantizeLinear"
    ] * 2
    assert second.inputs[0] is fixed.model.graph.inputs[0]
    assert second.inputs[1] in fixed.model.graph.initializers.values()


def test_a_constant_that_is_also_a_weight_stays_quantized() -> None:
    body = INT8 + "wd = DequantizeLinear (w, s, i0)" + M + "y = Add (m, wd)"
    fixed = fix(graph(body, x="float[16,16] x"), "tensorrt")
    assert [finding.rule for finding in fixed.findings] == ["quantized-constant"]
    assert fixed.fixes == []


def test_an_output_keeps_its_name(compute: Compute) -> None:
    model = graph(INT8 + W + M + qdq("i0", "m", "y"))
    fixed = fix(model, "tensorrt")
    assert [value.name for value in fixed.model.graph.outputs] == ["y"]
    assert ops(fixed.model).count("QuantizeLinear") == 1
    np.testing.assert_allclose(compute(fixed.model)[0], compute(model)[0], atol=0.5 * 0.1 + 1e-6)


INTEGER = ["uint8-weight", "small-weight", "float-bias", "bias-scale", "zero-point-left-out", "int8-activation"]


@pytest.mark.parametrize("rule", INTEGER)
def test_onnxruntime_multiplies_integers_once_it_is_fixed(rule: str, tmp_path: Path) -> None:
    bad, _, options = CPU[rule]
    fixed = fix(graph(bad, **options), "cpu")
    assert fixed.findings == []
    assert not FLOAT_PRODUCTS & set(run_ops(fixed.model, tmp_path))


def test_a_bias_in_three_axes_is_exact_and_one_in_two_is_rounded() -> None:
    three, two = (fix(graph(UINT8 + W + M + "y = Add (m, b)", x), "cpu") for x in (X, ROWS))
    assert [applied.exact for applied in three.fixes] == [True]
    assert [applied.exact for applied in two.fixes] == [False]


def test_inside_functions_and_branches() -> None:
    model = load(
        parse_model("""
        <ir_version: 9, opset_import: ["": 20, "own": 1]>
        tiny (float[2,4] x, bool p) => (float[2,4] y)
        <float s = {0.1}, uint8 z = {128}, int8[4] g = {1, 2, 3, 4}>
        {
            a = own.pair (x, s, z)
            y = If (p) <
                then_branch = t () => (b) { d = DequantizeLinear (g, s) b = Sub (a, d) },
                else_branch = e () => (c) { q = QuantizeLinear (x, s, z) c = DequantizeLinear (q, s, z) }
            >
        }
        <domain: "own", opset_import: ["": 20]>
        pair (v, s, z) => (w) { u = QuantizeLinear (v, s, z) n = DequantizeLinear (u, s, z) w = Neg (n) }
        """)
    )
    fixed = fix(model, "tensorrt")
    assert {applied.rule for applied in fixed.fixes} == {"uint8-activation", "quantized-constant"}
    assert {finding.rule for finding in fixed.findings} == {"nothing-quantized"}
    assert len(fixed.model.functions) == 0
