"""Our passes take their places in onnx_ir's PassManager, among those of others and more than once."""

import runpy
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx_ir.passes import common

import requant
from models import synthetic
from requant.calib import batches, collect
from requant.ir import canonicalize, load
from requant.passes import InsertQDQ, PlanQuantizers, ReparameterizeScales
from requant.runtime.session import runner

SPEC = synthetic.Transformer(layers=1, opset=14, dialect="pytorch")
FEEDS = synthetic.feeds(SPEC, 8)

BEFORE: Sequence[ir.passes.PassBase] = (
    common.InlinePass(),
    common.LiftConstantsToInitializersPass(),
    common.IdentityEliminationPass(),
    common.CommonSubexpressionEliminationPass(),
    common.ShapeInferencePass(),
)
AFTER: Sequence[ir.passes.PassBase] = (
    common.DeduplicateInitializersPass(),
    common.CommonSubexpressionEliminationPass(),
    common.RemoveUnusedNodesPass(),
    common.RemoveUnusedOpsetsPass(),
    common.ShapeInferencePass(),
    common.NameFixPass(),
    common.CheckerPass(),
)


def ours(target: str) -> Sequence[ir.passes.PassBase]:
    """Ours, with passes between that rename and reorder."""
    between = (common.NameFixPass(), common.TopologicalSortPass())
    return (ReparameterizeScales(), *between, PlanQuantizers(), common.RemoveUnusedNodesPass(), InsertQDQ(target))


@pytest.fixture(scope="module")
def calibrated() -> ir.Model:
    model = load(synthetic.pre_norm(SPEC))
    ir.passes.PassManager(BEFORE)(model)
    canonicalize(model)
    collect(model, batches(FEEDS, model))
    return model


def sqnr(model: ir.Model) -> float:
    """In dB, against the float model."""
    exact, coded = runner(load(synthetic.pre_norm(SPEC))), runner(model)
    pairs = [(exact(feed)[0].astype(np.float64), coded(feed)[0].astype(np.float64)) for feed in FEEDS]
    return float(10 * np.log10(sum((y**2).sum() for y, _ in pairs) / sum(((y - z) ** 2).sum() for y, z in pairs)))


@pytest.mark.parametrize("target", ["cpu", "tensorrt"])
def test_among_passes_of_others_the_result_is_the_same(calibrated: ir.Model, target: str) -> None:
    model, alone = calibrated.clone(), calibrated.clone()
    assert ir.passes.PassManager([*ours(target), *AFTER])(model).modified
    ir.passes.PassManager([ReparameterizeScales(), PlanQuantizers(), InsertQDQ(target)])(alone)
    assert sqnr(model) > 25
    assert sqnr(model) == pytest.approx(sqnr(alone), abs=0.01)
    assert requant.check(model, target) == []


def test_a_second_round_changes_nothing(calibrated: ir.Model) -> None:
    once, twice = calibrated.clone(), calibrated.clone()
    ir.passes.PassManager([*ours("tensorrt"), *AFTER])(once)
    ir.passes.PassManager([*ours("tensorrt"), *AFTER], steps=2)(twice)
    assert [node.op_type for node in twice.graph] == [node.op_type for node in once.graph]
    assert sqnr(twice) == sqnr(once)


def test_a_pass_out_of_order_says_what_comes_first(calibrated: ir.Model) -> None:
    with pytest.raises(ir.passes.PassError) as caught:
        ir.passes.PassManager([InsertQDQ("cpu"), PlanQuantizers()])(calibrated.clone())
    assert "PlanQuantizers first" in "".join(traceback.format_exception(caught.value))


def test_the_example_runs(examples: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    onnx.save(synthetic.pre_norm(SPEC), tmp_path / "model.onnx")
    np.savez(tmp_path / "data.npz", x=np.concatenate([feed["x"] for feed in FEEDS]))
    paths = [str(tmp_path / name) for name in ("model.onnx", "data.npz", "int8.onnx")]
    monkeypatch.setattr(sys, "argv", ["pass_manager.py", *paths])
    runpy.run_path(str(examples / "pass_manager.py"), run_name="__main__")
    assert sqnr(load(tmp_path / "int8.onnx")) > 25
