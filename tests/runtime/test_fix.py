"""Each safe fix removes its finding, keeps the numbers or says that it does not, and causes no new finding."""

from collections.abc import Callable

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from numpy.typing import NDArray

from requant.errors import SourceError
from requant.runtime import FixResult, check, fix
from requant.runtime.targets import TARGETS
from requant.runtime.targets import target as find_target
from tests.engine import marks
from tests.runtime.check_blocks import CPU_BLOCKS, CUDA, FINE_BLOCKS, OTHER_BLOCKS, TENSORRT_BLOCKS, TENSORRT_RTX
from tests.runtime.check_graphs import (
    CONV,
    CPU,
    FINE,
    IMAGE,
    INT8,
    OPENVINO,
    OTHER_WAYS,
    ROWS,
    TENSORRT,
    UINT8,
    M,
    Options,
    W,
    Y,
    graph,
    qdq,
    weight,
)

Compute = Callable[[ir.Model], list[NDArray[np.float32]]]

ROUNDING = 1e-6
"""The largest relative difference that float rounding explains."""

HALF_A_STEP = 0.5 * 0.1 * 0.04
"""Of the product in these graphs: the most that rounding a bias to int32 may change."""

TABLES = {
    "tensorrt": TENSORRT | TENSORRT_BLOCKS,
    "tensorrt-rtx": TENSORRT_RTX,
    "cpu": CPU | CPU_BLOCKS,
    "cuda": CUDA,
    "openvino": OPENVINO,
}

UINT8_WEIGHT = "wd = DequantizeLinear <axis = 1> (wu, sw, u128s)\n"

FIXABLE: dict[tuple[str, str], tuple[str, Options]] = {
    (target, rule): (table[rule][0], table[rule][2])
    for target, table in TABLES.items()
    for rule in TARGETS[target].fixes
    if rule in table
}
FIXABLE |= {
    ("tensorrt", "zero-point"): ("g = DequantizeLinear (w, s, i5) i = Cast <to = 7> (x) y = Gather (g, i)", {}),
    ("tensorrt", "uint8-activation"): (UINT8 + W + Y, {}),
    ("tensorrt", "uint8-weight"): (INT8 + UINT8_WEIGHT + Y, {}),
    ("cpu", "weight-only"): (CONV.replace("xd", "x") + "y = Relu (c)", {"x": IMAGE}),
}
"""By target and rule, a graph that can be fixed."""

REMAINING: list[tuple[str, str, str, Options]] = [
    ("tensorrt", "zero-point", qdq("i5") + W + Y, {}),
    ("tensorrt", "uint8-activation", qdq("u0") + W + Y, {}),
    ("tensorrt", "uint8-weight", INT8 + weight("wu") + Y, {}),
    ("tensorrt", "opset", "y = Relu (x)", {"opset": 25, "ir_version": 13}),
    ("tensorrt", "ir-version", "y = Relu (x)", {"opset": 25, "ir_version": 13}),
    ("tensorrt", "weight-scale-axis", INT8 + weight(axis=0) + Y, {}),
    ("cpu", "weight-only", W + "y = MatMul (x, wd)", {}),
    ("cpu", "float-bias", UINT8 + W + M + "y = Add (m, x)", {"x": ROWS}),
    ("cpu", "weight-scale-axis", UINT8 + weight(axis=1) + "y = Gemm <transB = 1> (xd, wd)", {"x": ROWS}),
]
"""Graphs whose fix takes data or a decision."""

CASES = [pytest.param(*key, *case, id="-".join(key), marks=marks(*key)) for key, case in sorted(FIXABLE.items())]

ALL: list[tuple[str, str, Options]] = [
    *((target, bad, options) for target, table in TABLES.items() for bad, _, options in table.values()),
    *((target, bad, options) for target, _, bad, options in OTHER_WAYS + OTHER_BLOCKS + REMAINING),
    *((target, bad, options) for (target, _), (bad, options) in FIXABLE.items()),
]


def rules(result: FixResult) -> set[str]:
    return {finding.rule for finding in result.findings}


def without_pairs(model: ir.Model) -> ir.Model:
    """Return the graph without the Q/DQ pairs of activations."""
    copy = model.clone()
    for node in copy.graph:
        quantize = node.inputs[0].producer() if node.op_type == "DequantizeLinear" and node.inputs[0] else None
        value = quantize.inputs[0] if quantize is not None and quantize.op_type == "QuantizeLinear" else None
        if value is not None:
            ir.convenience.replace_all_uses_with(node.outputs[0], value, replace_graph_outputs=True)
    return copy


def furthest(one: list[NDArray[np.float32]], other: list[NDArray[np.float32]]) -> float:
    return max(float(np.abs(a - b).max()) for a, b in zip(one, other, strict=True))


def require_agreement(model: ir.Model, fixed: FixResult, compute: Compute) -> None:
    """Require the same numbers, or a rounded bias, or numbers closer to the graph without the pairs."""
    before, after = compute(model), compute(fixed.model)
    if all(applied.exact for applied in fixed.fixes):
        assert furthest(before, after) <= ROUNDING * max(float(np.abs(output).max()) for output in before)
    elif any("bias" in applied.rule for applied in fixed.fixes):
        assert furthest(before, after) <= HALF_A_STEP
    else:
        expected = compute(without_pairs(model))
        assert furthest(expected, after) <= furthest(expected, before)


def test_every_safe_fix_has_a_case() -> None:
    for target in ("tensorrt", "cpu"):
        assert {rule for name, rule in FIXABLE if name == target} | {"ir-version"} == TARGETS[target].fixes.keys()
    assert ("cuda", "integer-product") in FIXABLE
    assert ("tensorrt-rtx", "grouped-conv") in FIXABLE


@pytest.mark.parametrize("target", ["tensorrt", "cpu"])
def test_the_ir_version_is_lowered_where_the_opset_fits(target: str) -> None:
    engine = find_target(target)
    body = (INT8 if target == "tensorrt" else UINT8) + W + Y
    fixed = fix(graph(body, opset=engine.highest_opset, ir_version=engine.highest_ir + 1), target)
    assert fixed.findings == []
    assert fixed.model.ir_version == engine.highest_ir
    onnx.checker.check_model(ir.to_proto(fixed.model))


@pytest.mark.parametrize(("target", "rule", "bad", "options"), CASES)
def test_safe_fix(target: str, rule: str, bad: str, options: Options, compute: Compute) -> None:
    model = graph(bad, **options)
    assert rule in {finding.rule for finding in check(model, target)}
    fixed = fix(model, target)
    assert rule not in rules(fixed)
    assert rule in {applied.rule for applied in fixed.fixes}
    require_agreement(model, fixed, compute)


@pytest.mark.parametrize(("target", "rule", "bad", "options"), REMAINING)
def test_what_needs_data_or_a_decision_remains(target: str, rule: str, bad: str, options: Options) -> None:
    fixed = fix(graph(bad, **options), target)
    assert rule in rules(fixed)
    assert rule not in {applied.rule for applied in fixed.fixes}


@pytest.mark.parametrize(("target", "bad", "options"), ALL)
def test_no_fix_causes_a_new_finding_or_touches_its_input(target: str, bad: str, options: Options) -> None:
    model = graph(bad, **options)
    before = ir.to_proto(model).SerializeToString(deterministic=True)
    fixed = fix(model, target)
    assert rules(fixed) <= {finding.rule for finding in check(model, target)} | {"nothing-quantized"}
    assert fixed.findings == check(fixed.model, target)
    assert fix(fixed.model, target).fixes == []
    assert ir.to_proto(model).SerializeToString(deterministic=True) == before
    assert [value.name for value in fixed.model.graph.outputs] == ["y"]


@pytest.mark.parametrize(("target", "bad", "options"), ALL)
def test_what_runs_still_runs_with_the_same_numbers(target: str, bad: str, options: Options, compute: Compute) -> None:
    model = graph(bad, **options)
    try:
        runs = all(np.isfinite(output).all() for output in compute(model))
    except SourceError:
        runs = False
    if not runs:
        pytest.skip("the graph gives no numbers as it is")
    onnx.checker.check_model(ir.to_proto(fix(model, target).model))
    require_agreement(model, fix(model, target), compute)


@pytest.mark.parametrize(("target", "good", "options"), FINE + FINE_BLOCKS)
def test_fine(target: str, good: str, options: Options) -> None:
    fixed = fix(graph(good, **options), target)
    assert fixed.fixes == []
    assert rules(fixed) <= {"nothing-quantized"}
