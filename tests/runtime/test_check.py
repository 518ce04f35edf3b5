"""Each rule finds the graph that breaks it and nothing in the graph next to it, and ONNX Runtime agrees."""

from dataclasses import asdict

import onnx_ir as ir
import pytest
from onnx.parser import parse_model

import requant
from requant.errors import SourceError, TargetError
from requant.ir.load import load
from requant.runtime.check import Finding, check
from requant.runtime.fix import fix
from requant.runtime.targets import TARGETS, common
from tests.engine import marks
from tests.runtime.check_blocks import CPU_BLOCKS, CUDA, FINE_BLOCKS, OTHER_BLOCKS, TENSORRT_BLOCKS, TENSORRT_RTX
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
from tests.runtime.engine_facts import BAD, GOOD, Fact, disagreement, engine_facts

TABLES = {
    "tensorrt": TENSORRT | TENSORRT_BLOCKS,
    "tensorrt-rtx": TENSORRT_RTX,
    "cpu": CPU | CPU_BLOCKS,
    "cuda": CUDA,
    "openvino": OPENVINO,
}

CASES = [
    pytest.param(target, rule, *case, id=f"{target}-{rule}", marks=marks(target, rule))
    for target, table in TABLES.items()
    for rule, case in table.items()
]


def rules(model: ir.Model, target: str) -> set[str]:
    return {finding.rule for finding in check(model, target)}


@pytest.mark.parametrize(("target", "rule", "bad", "good", "options"), CASES)
def test_rule(target: str, rule: str, bad: str, good: str, options: Options) -> None:
    assert rule in rules(graph(bad, **options), target)
    assert rules(graph(good, **options), target) <= {"nothing-quantized"}


@pytest.mark.parametrize(("target", "rule", "bad", "options"), OTHER_WAYS + OTHER_BLOCKS)
def test_other_ways_to_break_a_rule(target: str, rule: str, bad: str, options: Options) -> None:
    assert rule in rules(graph(bad, **options), target)


@pytest.mark.parametrize(("target", "good", "options"), FINE + FINE_BLOCKS)
def test_fine(target: str, good: str, options: Options) -> None:
    assert rules(graph(good, **options), target) <= {"nothing-quantized"}


@pytest.mark.parametrize(
    ("target", "version", "opset", "ir_version"),
    [
        ("tensorrt", None, 24, 12),
        ("cpu", "1.23.2", 22, 11),
        ("cpu", "1.24", 25, 13),
        ("cpu", "1.31.1", 26, 13),
        ("cpu", "1.32.0", 27, 14),
        ("cuda", "1.25", 26, 13),
    ],
)
def test_versions(target: str, version: str | None, opset: int, ir_version: int) -> None:
    def rules(opset: int, ir_version: int) -> set[str]:
        model = graph("y = Relu (x)", X, opset, ir_version)
        return {finding.rule for finding in check(model, target, version=version)} - {"nothing-quantized"}

    assert rules(opset, ir_version) == set()
    assert rules(opset + 1, ir_version) == {"opset"}
    assert rules(opset, ir_version + 1) == {"ir-version"}


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("body", ["y = MatMul (x, wf)", "y = Relu (x)", UINT8 + "y = Identity (xd)"])
def test_a_model_without_a_quantized_layer(body: str, target: str) -> None:
    assert "nothing-quantized" in rules(graph(body), target)


def test_integer_operators_are_quantized_layers() -> None:
    body = "q, t, z = DynamicQuantizeLinear (x) m = MatMulInteger (q, w, z) y = Cast <to = 1> (m)"
    assert check(graph(body), "cpu") == []


def test_weight_only_layers_are_found_unless_they_are_on_purpose() -> None:
    model = graph(W + "y = MatMul (x, wd)")
    assert rules(model, "cpu") == rules(model, "tensorrt") == {"weight-only"}
    model.metadata_props["requant.target"] = "tensorrt"
    assert rules(model, "tensorrt") == rules(model, "tensorrt-rtx") == set()
    model.metadata_props["requant.target"] = "cpu"
    assert rules(model, "cpu") == set()
    assert rules(model, "tensorrt") == {"weight-only"}


def test_every_rule_has_a_case() -> None:
    others = {"opset", "ir-version", "nothing-quantized"}
    for target in ("tensorrt", "cpu"):
        assert {rule.name for rule in TARGETS[target].rules} == TABLES[target].keys() | others
    new = {rule.name for rule in TARGETS["tensorrt-rtx"].rules} - {rule.name for rule in TARGETS["tensorrt"].rules}
    assert new == TENSORRT_RTX.keys()
    assert {rule.name for rule in TARGETS["cuda"].rules} - {rule.name for rule in common.RULES} == CUDA.keys()


def test_every_target_has_the_common_rules() -> None:
    assert all(target.rules[: len(common.RULES)] == common.RULES for target in TARGETS.values())


@pytest.fixture(scope="module")
def facts() -> dict[str, Fact]:
    return engine_facts()


@pytest.mark.parametrize("name", [f"bad {name}" for name in BAD])
def test_onnxruntime_does_what_the_finding_says(name: str, facts: dict[str, Fact]) -> None:
    assert disagreement(name, facts[name]) == ""


@pytest.mark.parametrize("name", [f"good {name}" for name in GOOD])
def test_onnxruntime_multiplies_integers_where_nothing_is_found(name: str, facts: dict[str, Fact]) -> None:
    assert disagreement(name, facts[name]) == ""


@pytest.mark.parametrize(
    ("rule", "version", "consequence"),
    [
        ("code-type", "1.27", "refused: a MatMul or Gemm in float8e4m3fn"),
        ("code-type", "1.31.1", "refused: a MatMul in float8e4m3fn"),
        ("code-type", "1.32.0", "runs in float"),
        ("code-type", "2.0.0rc1", "runs in float"),
        ("weight-only", "1.24.4", "runs in float"),
        ("weight-only", "1.25", "other numbers"),
        ("zero-point-left-out", "1.28.0", "runs in float"),
    ],
)
def test_what_a_rule_says_depends_on_the_version(rule: str, version: str, consequence: str) -> None:
    bad, _, options = CPU[rule]
    violations = [finding for finding in check(graph(bad, **options), "cpu", version=version) if finding.rule == rule]
    assert violations != []
    for finding in violations:
        assert finding.consequence.startswith(consequence)
        assert " (onnxruntime " in finding.consequence


def test_a_rule_may_not_hold_in_a_version() -> None:
    bad, _, options = CPU["zero-point-left-out"]
    assert check(graph(bad, **options), "cpu", version="1.27.0") == []


def test_without_an_engine_the_newest_version_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    bad, _, options = CPU["code-type"]
    monkeypatch.setattr("requant.runtime.versions.installed", lambda engine: None)
    consequences = {finding.consequence for finding in check(graph(bad, **options), "cpu")}
    assert all("(onnxruntime from 1.32 on)" in consequence for consequence in consequences)


def test_a_malformed_version_is_refused() -> None:
    with pytest.raises(TargetError, match="not a version: 'new'"):
        check(graph(UINT8 + W + Y), "cpu", version="new")


def test_a_finding_is_one_line_and_plain_data() -> None:
    (finding,) = check(graph(INT8.replace("i0", "i5") + W + Y), "tensorrt")
    assert finding == Finding(**asdict(finding))
    assert (finding.rule, finding.node) == ("zero-point", "xdq")
    assert str(finding).startswith("xdq: zero-point: refused: zero point 5")
    assert "\n" not in str(finding)


def test_unknown_target() -> None:
    with pytest.raises(TargetError, match="tpu"):
        check(graph(UINT8 + W + Y), "tpu")


def test_damaged_models() -> None:
    with pytest.raises(SourceError, match="axis"):
        check(graph(UINT8 + W.replace("axis = 1", "axis = 1.5") + Y), "cpu")
    for verb in (check, fix):
        with pytest.raises(SourceError, match=r"node 'a' \(Add\) has 0 inputs, but takes 2"):
            verb(graph("a = Add () r = Sqrt () y = Div (x, r)"), "cpu")
        with pytest.raises(SourceError, match="not a permutation of the axes"):
            verb(graph(INT8 + W + "t = Transpose <perm = [5]> (wd) y = MatMul (xd, t)"), "tensorrt")
    lost = graph(INT8 + W + "t = Transpose <perm = [0]> (wd) y = MatMul (xd, t)")
    assert check(lost, "tensorrt") == []


def test_functions_that_cannot_be_inlined() -> None:
    text = """<ir_version: 9, opset_import: ["": 20, "own": 1]> g (float[2, 4] x) => (float[2, 4] y) { y = own.f (x) }
        <domain: "own", opset_import: ["": 13]> f (a) => (b) { b = Relu (a) }"""
    with pytest.raises(SourceError) as refused:
        check(load(parse_model(text)), "cpu")
    assert str(refused.value).startswith("the functions of the model cannot be inlined: ")
    assert "0x" not in str(refused.value), "no address in what is said"


def test_the_verb_takes_a_version() -> None:
    model, missing = graph("y = Relu (x)", X, 26, 13), {"nothing-quantized"}
    for version, rules in (("1.31.1", missing), ("1.24", missing | {"opset"})):
        assert {finding.rule for finding in requant.check(model, "cpu", version=version)} == rules
    with pytest.raises(TargetError, match="not a version: 'new'"):
        requant.check(model, "cpu", version="new")


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
