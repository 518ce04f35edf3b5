"""Each rule finds the graph that breaks it and nothing in the graph next to it, and ONNX Runtime agrees."""

from dataclasses import asdict
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
import pytest
from onnx.parser import parse_model
from onnxruntime.quantization import quantize_static

from requant.errors import SourceError, TargetError
from requant.ir.load import load
from requant.runtime.check import RULES, Finding, check
from tests.runtime.check_graphs import (
    CPU,
    FINE,
    INT8,
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

CASES = [
    pytest.param(target, rule, *case, id=f"{target}-{rule}")
    for target, table in (("tensorrt", TENSORRT), ("cpu", CPU))
    for rule, case in table.items()
]

FLOAT_PRODUCTS = {"MatMul", "Gemm", "Conv", "FusedMatMul", "FusedConv"}


def rules(model: ir.Model, target: str) -> set[str]:
    return {finding.rule for finding in check(model, target)}


@pytest.mark.parametrize(("target", "rule", "bad", "good", "options"), CASES)
def test_rule(target: str, rule: str, bad: str, good: str, options: Options) -> None:
    assert rule in rules(graph(bad, **options), target)
    assert check(graph(good, **options), target) == []


@pytest.mark.parametrize(("target", "rule", "bad", "options"), OTHER_WAYS)
def test_other_ways_to_break_a_rule(target: str, rule: str, bad: str, options: Options) -> None:
    assert rule in rules(graph(bad, **options), target)


@pytest.mark.parametrize(("target", "good", "options"), FINE)
def test_fine(target: str, good: str, options: Options) -> None:
    assert check(graph(good, **options), target) == []


@pytest.mark.parametrize(("target", "opset", "ir_version"), [("tensorrt", 24, 12), ("cpu", 26, 13)])
def test_versions(target: str, opset: int, ir_version: int) -> None:
    assert check(graph("y = Relu (x)", X, opset, ir_version), target) == []
    assert rules(graph("y = Relu (x)", X, opset + 1, ir_version), target) == {"opset"}
    assert rules(graph("y = Relu (x)", X, opset, ir_version + 1), target) == {"ir-version"}


def test_every_rule_has_a_case() -> None:
    versions = {"opset", "ir-version"}
    assert {rule.name for rule in RULES["tensorrt"]} == TENSORRT.keys() | versions
    assert {rule.name for rule in RULES["cpu"]} == CPU.keys() | versions


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


BAD_ON_CPU = [(rule, bad, options) for rule, (bad, _, options) in CPU.items()]
BAD_ON_CPU += [(rule, bad, options) for target, rule, bad, options in OTHER_WAYS if target == "cpu"]


@pytest.mark.parametrize(("rule", "bad", "options"), BAD_ON_CPU)
def test_onnxruntime_does_what_the_finding_says(rule: str, bad: str, options: Options, tmp_path: Path) -> None:
    model = graph(bad, **options)
    found = next(finding for finding in check(model, "cpu") if finding.rule == rule)
    if found.consequence.startswith("refused"):
        with pytest.raises(Exception, match="ONNXRuntimeError"):
            products(model, tmp_path)
    elif found.consequence.startswith("runs in float"):
        assert products(model, tmp_path) & FLOAT_PRODUCTS


GOOD_ON_CPU = [(good, options) for _, good, options in CPU.values()]
GOOD_ON_CPU += [(good, options) for target, good, options in FINE if target == "cpu"]


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


class OneSided:
    """Two batches of values above 0, so that an asymmetric range starts there."""

    def __init__(self) -> None:
        generator = np.random.default_rng(0)
        self.batches = iter([{"x": generator.random((3, 4), np.float32)} for _ in range(2)])

    def get_next(self) -> dict[str, np.ndarray] | None:
        return next(self.batches, None)


def test_what_quantize_static_writes(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("ERROR")  # it recommends its own pre-processing, which would change nothing here
    source = parse_model("""
        <ir_version: 8, opset_import: ["": 17]> tiny (float[3,4] x) => (float[3,4] y)
        <float[4] g = {1, 1, 1, 1}, float[4] b = {1, 2, 3, 4},
         float[4,4] w = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}>
        { n = LayerNormalization (x, g, b) y = MatMul (n, w) }
    """)
    quantize_static(source, tmp_path / "model.onnx", OneSided())
    found = {(finding.rule, finding.node) for finding in check(load(tmp_path / "model.onnx"), "tensorrt")}
    assert {
        ("zero-point", "x_QuantizeLinear"),
        ("int32-bias", "b_DequantizeLinear"),
        ("quantized-output", "y_QuantizeLinear"),
    } <= found
