"""The recipe whose plan is taken: another than the preferred one only where held-out samples show it to be better."""

from collections.abc import Sequence
from dataclasses import replace

import onnx_ir as ir
import pytest

import requant
from models.few import FAMILIES, Family, Feed
from requant.recipe import RECIPES, Recipe
from requant.stages.job import Job


def optimized(family: Family, data: Sequence[Feed], recipe: str | Recipe) -> requant.Result:
    return requant.optimize(family.model, data, recipe, "tensorrt", precision="float32")


def codes(result: requant.Result) -> set[str]:
    return {layer.format for layer in result.report.layers}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mlp", "post-norm"])
def test_mixed8_is_int8_where_it_is_no_better(name: str) -> None:
    family = FAMILIES[name](92_001)
    data, fresh = family.feeds(24, 0), family.feeds(64, 1)
    mixed, int8 = (optimized(family, data, recipe) for recipe in ("mixed8", "int8"))
    distances = [requant.compare(family.model, one.model, fresh).outputs["y"].sqnr for one in (mixed, int8)]
    assert distances[0] == pytest.approx(distances[1], abs=0.01)
    assert codes(mixed) == codes(int8)
    assert "planned by int8: mixed8 is not shown to be better" in mixed.report.notes
    assert mixed.report.recipe == "mixed8"


def test_the_better_recipe_is_taken_with_a_note(monkeypatch: pytest.MonkeyPatch) -> None:
    """By construction: the judge prefers another plan until it has that of fp8."""

    def favoured(job: Job, model: ir.Model, least: float = 0.0) -> str:
        return "" if job.planned_by == RECIPES["fp8"] else "9.0 dB better"

    monkeypatch.setattr("requant.stages.plan.improvement", favoured)
    family = FAMILIES["mlp"](0)
    result = requant.optimize(family.model, family.feeds(24, 0), "mixed8", "tensorrt")
    fp8 = requant.optimize(family.model, family.feeds(24, 0), "fp8", "tensorrt")
    assert codes(result) == codes(fp8)
    assert [note for note in result.report.notes if "planned" in note] == ["planned by fp8: 9.0 dB better"]


def test_fp8_takes_transforms_that_add_no_node() -> None:
    family = FAMILIES["post-norm"](101)
    data, fresh = family.feeds(24, 0), family.feeds(48, 1)
    plain = replace(RECIPES["fp8"], rewrites=())
    ours, other = (optimized(family, data, recipe) for recipe in (RECIPES["fp8"], plain))
    assert ours.model.graph.num_nodes() == other.model.graph.num_nodes()
    assert ours.report.sites
    distances = [requant.compare(family.model, one.model, fresh).outputs["y"].sqnr for one in (ours, other)]
    assert distances[0] > distances[1]


def test_an_engine_without_a_format_has_no_plan_in_it() -> None:
    family = FAMILIES["mlp"](0)
    result = requant.optimize(family.model, family.feeds(24, 0), "mixed8", "cpu")
    assert not any("fp8" in note for note in result.report.notes)


@pytest.mark.slow
def test_auto_takes_another_whole_plan_where_that_is_better() -> None:
    family = FAMILIES["cnn"](91_001)
    data, fresh = family.feeds(32, 0), family.feeds(64, 1)
    auto, int8 = (optimized(family, data, recipe) for recipe in ("auto", "int8"))
    distances = [requant.compare(family.model, one.model, fresh).outputs["y"].sqnr for one in (auto, int8)]
    assert distances[0] > distances[1] + 2
    assert any(note.startswith("planned by int8 with SmoothQuant alone: ") for note in auto.report.notes)
