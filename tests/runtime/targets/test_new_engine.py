"""A new engine is one file and a line in the registry: optimize, check and fix need no other."""

import onnx_ir as ir
import pytest

import requant
from models import synthetic
from requant.runtime.targets import TARGETS
from tests.runtime.check_graphs import INT8, UINT8, W, Y, graph
from tests.runtime.targets.fake_engine import NPU

SPEC = synthetic.Transformer(layers=1)


@pytest.fixture(autouse=True)
def registry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(TARGETS, "npu", NPU)


def activation_types(model: ir.Model) -> set[ir.DataType | None]:
    """Types of what the QuantizeLinear nodes of ``model`` write."""
    return {node.outputs[0].dtype for node in model.graph if node.op_type == "QuantizeLinear"}


def test_optimize_lowers_for_it() -> None:
    source, feeds = synthetic.pre_norm(SPEC), synthetic.feeds(SPEC, 2)
    result = requant.optimize(source, feeds, target="npu")
    assert activation_types(result.model) == {ir.DataType.UINT8}
    assert requant.check(result.model, "npu") == []
    assert requant.compare(source, result.model, feeds).outputs["y"].sqnr > 20
    assert not any(layer.reason for layer in result.report.layers)


def test_a_plan_that_it_cannot_run_is_left_in_float() -> None:
    with pytest.warns(requant.errors.TargetWarning, match="npu has no float8e4m3fn products"):
        requant.optimize(synthetic.pre_norm(SPEC), synthetic.feeds(SPEC, 2), "fp8", "npu")


def test_check_has_its_rules_in_its_versions() -> None:
    model = graph(INT8 + W + Y)
    for version, consequence in (("2.0", "refused: activations in int8 (npu before 3.0)"), ("3.1", "slower: ")):
        (finding,) = requant.check(model, "npu", version=version)
        assert (finding.rule, finding.node) == ("int8-activation", "y")
        assert finding.consequence.startswith(consequence)
    assert [finding.rule for finding in requant.check(graph(UINT8 + W + Y), "npu", version="1.0")] == [
        "opset",
        "ir-version",
    ]


def test_fix_applies_its_safe_fixes() -> None:
    result = requant.fix(graph(INT8 + W + Y), "npu")
    assert [applied.rule for applied in result.fixes] == ["int8-activation"]
    assert result.findings == []
    assert activation_types(result.model) == {ir.DataType.UINT8}


def test_messages_list_it() -> None:
    with pytest.raises(requant.TargetError, match=r"choose one of .*, npu"):
        requant.check(graph(INT8 + W + Y), "tpu")
