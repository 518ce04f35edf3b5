"""Attention in 8 bits: asked for, with what it costs; unasked only where it loses nothing; refused in one line."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

import requant
from models import synthetic
from requant.attention import Attention
from requant.cli.run import run
from requant.errors import RequantError, TargetError
from requant.ir.formats import FP8
from requant.recipe import RECIPES, Recipe
from requant.runtime.feeds import Feed

SPEC = synthetic.Transformer(32, 2, 1, hidden=64, tokens=32)
SOURCE = synthetic.pre_norm(SPEC)


def feeds(samples: int = 12) -> list[Feed]:
    return [dict(feed) for feed in synthetic.feeds(SPEC, samples)]


TRYING = replace(RECIPES["int8-plain"], attention=RECIPES["mixed8"].attention)
"""A recipe that tries what "mixed8" tries, in less time."""


def optimized(
    recipe: str | Recipe, attention: Attention | None = None, min_sqnr: float | None = None
) -> requant.Result:
    return requant.optimize(SOURCE, feeds(), recipe, "tensorrt-rtx", attention=attention, min_sqnr=min_sqnr)


def notes(result: requant.Result) -> list[str]:
    return [note for note in result.report.notes if "attention" in note]


def is_quantized(model: ir.Model) -> bool:
    softmax = next(node for node in model.graph if node.op_type == "Softmax")
    return [node.op_type for node in softmax.successors()] == ["QuantizeLinear"]


@pytest.mark.parametrize("attention", ["fp8", "int8"])
def test_what_is_asked_for_is_done_and_its_cost_told(attention: Attention) -> None:
    result = optimized("int8-plain", attention)
    (note,) = notes(result)
    assert is_quantized(result.model)
    assert not is_quantized(result.lower("cpu", precision="float32"))
    assert note.startswith(f"attention in {attention}, 1 of 1: ")
    assert note.endswith("dB on 2 held-out batches")
    assert requant.check(result.model, "tensorrt-rtx") == []


def test_other_recipes_leave_it_in_float_unasked() -> None:
    result = optimized("int8-plain")
    assert (is_quantized(result.model), notes(result)) == (False, [])


def test_mixed8_tries_fp8() -> None:
    assert RECIPES["mixed8"].attention == (FP8,)


@pytest.mark.parametrize(("most", "taken"), [(100.0, True), (-100.0, False)])
def test_a_recipe_takes_fp8_where_that_loses_nothing(most: float, taken: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("requant.stages.attention.MOST_LOSS", most)
    result = optimized(TRYING)
    (note,) = notes(result)
    assert is_quantized(result.model) == taken
    if taken:
        assert note.startswith("attention in fp8, 1 of it: ")
    else:
        assert note.startswith("attention stays in float: in fp8 it loses")
        assert "attention='fp8' takes it all the same" in note


@pytest.mark.parametrize(("attention", "min_sqnr"), [("float", None), (None, 10.0)])
def test_a_word_and_a_limit_leave_it_in_float(
    attention: Attention | None, min_sqnr: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("requant.stages.attention.MOST_LOSS", 100.0)
    result = optimized(TRYING, attention, min_sqnr)
    assert (is_quantized(result.model), notes(result)) == (False, [])


def test_what_cannot_be_one_kernel_is_noted() -> None:
    spec = synthetic.Transformer(32, 4, 1, hidden=64, tokens=32)
    data = [dict(feed) for feed in synthetic.feeds(spec, 2)]
    result = requant.optimize(synthetic.pre_norm(spec), data, "int8-plain", "tensorrt-rtx", attention="fp8")
    assert notes(result) == ["no attention in fp8 (heads of 8 channels do not become one kernel)"]


@pytest.mark.parametrize(
    ("target", "attention", "data", "error", "text"),
    [
        ("cpu", "fp8", True, TargetError, "cpu has no attention in fp8: choose one of tensorrt, tensorrt-rtx"),
        ("tensorrt", "int4", True, RequantError, "unknown attention 'int4': choose one of float, fp8, int8"),
        ("tensorrt", "int8", False, RequantError, "attention='int8' needs calibration data"),
    ],
)
def test_what_cannot_be_is_one_line(
    target: str, attention: Attention, data: bool, error: type[RequantError], text: str
) -> None:
    with pytest.raises(error, match=text):
        requant.optimize(SOURCE, feeds(2) if data else None, "int8-plain", target, attention=attention)


def test_the_command_line_has_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    requant.ir.save(requant.ir.load(SOURCE), tmp_path / "model.onnx")
    np.savez(tmp_path / "data.npz", x=np.concatenate([feed["x"] for feed in feeds()]))
    options = ("-c", str(tmp_path / "data.npz"), "-t", "tensorrt-rtx", "--recipe", "int8-plain", "--attention", "fp8")
    assert run(["optimize", str(tmp_path / "model.onnx"), *options, "-o", str(tmp_path / "out.onnx")]) == 0
    assert "attention in fp8, 1 of 1: -" in " ".join(capsys.readouterr().out.split())
