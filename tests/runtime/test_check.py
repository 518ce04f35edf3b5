"""Each rule finds the graph that breaks it and nothing in the graph next to it, and ONNX Runtime agrees."""

from dataclasses import asdict
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
import pytest
from onnx.parser import parse_model

from requant.errors import SourceError, TargetError
from requant.ir.load import load
from requant.runtime.check import RULES, Finding, check
from requant.runtime.rules import cuda
from requant.runtime.targets import TARGETS
from tests.runtime.check_blocks import CPU_BLOCKS, CUDA, FINE_BLOCKS, OTHER_BLOCKS, TENSORRT_BLOCKS
from tests.runtime.check_graphs import (
    CPU,
    FINE,
    INT8,
    OPENVINO,
    OTHER_WAYS,
    TENSORRT,
    UINT8,
    Options,
    W,
    X,
    Y,
    graph,
    qdq,
)

TABLES = {"tensorrt": TENSORRT | TENSORRT_BLOCKS, "cpu": CPU | CPU_BLOCKS, "cuda": CUDA, "openvino": OPENVINO}

CASES = [
    pytest.param(target, rule, *case, id=f"{target}-{rule}")
    for target, table in TABLES.items()
    for rule, case in table.items()
]

FLOAT_PRODUCTS = {"MatMul", "Gemm", "Conv", "FusedMatMul", "FusedConv"}


def rules(model: ir.Model, target: str) -> set[str]:
    return {finding.rule for finding in check(model, target)}


@pytest.mark.parametrize(("target", "rule", "bad", "good", "options"), CASES)
def test_rule(target: str, rule: str, bad: str, good: str, options: Options) -> None:
    assert rule in rules(graph(bad, **options), target)
    assert check(graph(good, **options), target) == []


@pytest.mark.parametrize(("target", "rule", "bad", "options"), OTHER_WAYS + OTHER_BLOCKS)
def test_other_ways_to_break_a_rule(target: str, rule: str, bad: str, options: Options) -> None:
    assert rule in rules(graph(bad, **options), target)


@pytest.mark.parametrize(("target", "good", "options"), FINE + FINE_BLOCKS)
def test_fine(target: str, good: str, options: Options) -> None:
    assert check(graph(good, **options), target) == []


@pytest.mark.parametrize(("target", "opset", "ir_version"), [("tensorrt", 24, 12), ("cpu", 26, 13)])
def test_versions(target: str, opset: int, ir_version: int) -> None:
    assert check(graph("y = Relu (x)", X, opset, ir_version), target) == []
    assert rules(graph("y = Relu (x)", X, opset + 1, ir_version), target) == {"opset"}
    assert rules(graph("y = Relu (x)", X, opset, ir_version + 1), target) == {"ir-version"}


def test_every_rule_has_a_case() -> None:
    for target in ("tensorrt", "cpu"):
        assert {rule.name for rule in RULES[target]} == TABLES[target].keys() | {"opset", "ir-version"}
    assert {rule.name for rule in cuda.RULES} == CUDA.keys()


def test_every_target_has_rules() -> None:
    assert RULES.keys() == TARGETS.keys()


def products(model: ir.Model, folder: Path) -> set[str]:
    """The types of the nodes that ONNX Runtime runs, after one run on ones."""
    options = ort.SessionOptions()
    options.optimized_model_filepath = str(folder / "optimized.onnx")
    options.log_severity_level = 4
    proto = ir.to_proto(model)
    session = ort.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
    (x,) = session.get_inputs()
    dtype = np.float16 if "float16" in x.type else np.float32
    session.run(None, {"x": np.ones([size if isinstance(size, int) else 3 for size in x.shape], dtype)})
    return {node.op_type for node in onnx.load(folder / "optimized.onnx").graph.node}


BAD_ON_CPU = [(rule, bad, options) for rule, (bad, _, options) in TABLES["cpu"].items()]
BAD_ON_CPU += [(rule, bad, options) for target, rule, bad, options in OTHER_WAYS + OTHER_BLOCKS if target == "cpu"]


@pytest.mark.parametrize(("rule", "bad", "options"), BAD_ON_CPU)
def test_onnxruntime_does_what_the_finding_says(rule: str, bad: str, options: Options, tmp_path: Path) -> None:
    model = graph(bad, **options)
    found = next(finding for finding in check(model, "cpu") if finding.rule == rule)
    if found.consequence.startswith("refused"):
        with pytest.raises(Exception, match="ONNXRuntimeError"):
            products(model, tmp_path)
    elif found.consequence.startswith("runs in float"):
        assert products(model, tmp_path) & FLOAT_PRODUCTS

    elif rule in ("quantized-norm", "quantized-constant"):
        assert "DequantizeLinear" in products(model, tmp_path)


GOOD_ON_CPU = [(good, options) for _, good, options in TABLES["cpu"].values()]
GOOD_ON_CPU += [(good, options) for target, good, options in FINE + FINE_BLOCKS if target == "cpu"]


@pytest.mark.parametrize(("good", "options"), GOOD_ON_CPU)
def test_onnxruntime_multiplies_integers_where_nothing_is_found(good: str, options: Options, tmp_path: Path) -> None:
    assert not products(graph(good, **options), tmp_path) & FLOAT_PRODUCTS


def test_a_finding_is_one_line_and_plain_data() -> None:
    (found,) = check(graph(INT8.replace("i0", "i5") + W + Y), "tensorrt")
    assert found == Finding(**asdict(found))
    assert (found.rule, found.node) == ("zero-point", "xdq")
    assert str(found).startswith("xdq: zero-point: refused: zero point 5")
    assert "\n" not in str(found)


def test_unknown_target() -> None:
    with pytest.raises(TargetError, match="tpu"):
        check(graph(UINT8 + W + Y), "tpu")


def test_damaged_models() -> None:
    with pytest.raises(SourceError, match="axis"):
        check(graph(UINT8 + W.replace("axis = 1", "axis = 1.5") + Y), "cpu")
    with pytest.raises(SourceError, match="damaged"):
        check(graph("a = Add () r = Sqrt () y = Div (x, r)"), "cpu")
    lost = graph(INT8 + W + "t = Transpose <perm = [5]> (wd) y = MatMul (xd, t)")
    assert check(lost, "tensorrt") == []


def test_the_model_is_not_modified() -> None:
    model = graph(
        "c = Constant <value_float = 0.1> () z = Constant <value = int8 {5}> ()" + qdq("z", scale="c") + W + Y
    )
    before = ir.to_proto(model).SerializeToString(deterministic=True)
    assert rules(model, "tensorrt") == {"zero-point"}
    assert ir.to_proto(model).SerializeToString(deterministic=True) == before


def test_inside_functions_and_branches() -> None:
    model = load(
        parse_model("""
        <ir_version: 9, opset_import: ["": 20, "own": 1]>
        tiny (float[2,4] x, bool p) => (float[2,4] y)
        <float s = {0.1}, int8 z = {5}>
        {
            a = own.pair (x, s, z)
            y = If (p) <
                then_branch = t () => (b) { q = QuantizeLinear (a, s, z) b = DequantizeLinear (q, s, z) },
                else_branch = e () => (c) { c = Identity (a) }
            >
        }
        <domain: "own", opset_import: ["": 20]>
        pair (v, s, z) => (w) { u = QuantizeLinear (v, s, z) w = DequantizeLinear (u, s, z) }
        """)
    )
    assert len([finding for finding in check(model, "tensorrt") if finding.rule == "zero-point"]) == 2
