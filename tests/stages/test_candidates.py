"""The better of two plans: only if the samples that are held out leave no doubt."""

from collections.abc import Iterable, Sequence

import numpy as np
import onnx_ir as ir
import pytest

from models.few import FAMILIES
from requant.optimize import optimize
from requant.recipe import RECIPES
from requant.runtime.feeds import Feed
from requant.stages.candidates import advantage, noise

RNG = np.random.default_rng(0)


@pytest.mark.parametrize(
    ("worse", "better", "gain"),
    [
        (np.full(6, 10.0), np.ones(6), 10.0),
        (np.full(6, 1.05), np.ones(6), 0.0),  # too little to care
        (np.array([1.0, 1, 1, 1, 1, 40]), np.ones(6), 0.0),  # one sample decides
        (np.full(1, 10.0), np.ones(1), 0.0),  # a single sample never does
        (np.ones(6), np.full(6, 10.0), 0.0),
        (np.array([1.0, np.inf]), np.ones(2), np.inf),
        (np.array([np.inf, np.inf]), np.array([1.0, np.inf]), 0.0),
        (np.full(6, 1e-30), np.zeros(6), 0.0),
    ],
)
def test_a_difference_counts_if_it_is_significant(worse: np.ndarray, better: np.ndarray, gain: float) -> None:
    assert advantage(worse, better) == pytest.approx(gain)


TEXT = '<ir_version: 10, opset_import: ["" : 20]> g (float[2] x) => (float[2] y, int64[1] s) {{ {} s = Shape(x) }}'


@pytest.mark.parametrize(
    ("body", "found"),
    [("y = Abs(x)", [1.6, 0.0]), ("y = Log(x)", [np.inf, np.inf]), ("y = Concat<axis=0>(x, x)", [0.0, 0.0])],
)
def test_noise_is_relative_and_infinite_where_values_are_lost(body: str, found: list[float]) -> None:
    same, other = (ir.from_onnx_text(TEXT.format(text)) for text in ("y = Identity(x)", body))
    feeds = [{"x": np.array([-2.0, 0.0], np.float32)}, {"x": np.array([1.0, 0.0], np.float32)}]
    lost = noise(same, [same, other], feeds)
    np.testing.assert_array_equal(lost[0], 0)
    np.testing.assert_allclose(lost[1], np.array(found) * (2 if "Abs" in body else 1))


def test_the_plain_plan_is_taken_where_it_is_better(monkeypatch: pytest.MonkeyPatch) -> None:
    """By construction: a transform that ruins the model loses on the samples that are held out."""
    family = FAMILIES["mlp"](0)
    data = family.feeds(24, 0)
    ours = optimize(family.model, data, "int8", "tensorrt")
    assert not ours.report.notes
    monkeypatch.setattr("requant.stages.float_layers.POOR", 0.0)  # layers in float would better the plain plan
    monkeypatch.setattr("requant.passes.cost_model.clipping.MARGINS", np.array([0.02]))
    monkeypatch.setattr("requant.passes.cost_model.loss.MARGINS", np.array([0.02]))
    ruined = optimize(family.model, data, "int8", "tensorrt")
    plain = optimize(family.model, data, "int8-plain", "tensorrt")
    assert "better on" in ruined.report.notes[0]
    assert [site.name for site in ruined.report.transformed] == []
    assert ruined.report.outputs == plain.report.outputs


@pytest.mark.parametrize(
    ("held_out", "calibration", "origin"), [(4.0, 4.0, "on 11 calibration"), (4.0, 0.5, ""), (0.5, 4.0, "")]
)
def test_calibration_data_confirm_what_too_few_samples_say(
    held_out: float, calibration: float, origin: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither a single sample that is held out decides, nor the calibration data that do not agree with it."""
    family = FAMILIES["mlp"](0)

    def told(reference: ir.Model, rivals: Sequence[ir.Model], feeds: Iterable[Feed]) -> np.ndarray:
        count = len(list(feeds))
        return np.array([np.full(count, held_out if count < 3 else calibration), np.ones(count)])

    monkeypatch.setattr("requant.stages.improvement.noise", told)
    monkeypatch.setattr("requant.calib.holdout.SHARE", 12)
    notes = optimize(family.model, family.feeds(12, 0), "int8", "tensorrt").report.notes
    assert [origin in note for note in notes] == [True] * bool(origin)


def test_the_report_has_the_difference_that_the_chosen_plan_makes() -> None:
    """The plain plan, which changes nothing, is made after the transformed one."""
    family = FAMILIES["pre-norm"](0)
    report = optimize(family.model, family.feeds(12, 0), "int8", "tensorrt").report
    assert report.calibration["held_out"] == 2
    assert report.transformed
    assert 0 < report.verification < 1e-3


def test_a_plain_recipe_has_no_candidates() -> None:
    assert RECIPES["int8-plain"].plain.rewrites == ()
