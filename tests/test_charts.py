"""The chart of the curve of loss over cost."""

import sys
from pathlib import Path

import numpy as np
import pytest

from requant.advice import Advice, CurvePoint
from requant.charts import curve, save_curve
from requant.cli.run import run
from requant.errors import OutputError, RequantError

POINTS = (CurvePoint(25.0, (), 0.0, 0), CurvePoint(31.5, ("up", "down"), 0.25, 4096))
ADVICE = Advice("folder/model.onnx", "tensorrt", "int8", "8 batches", curve=POINTS)
PRICED = Advice("model.onnx", "cpu", "int8", curve=tuple(CurvePoint(20.0 + n, (), n / 4, 0, n / 8) for n in (0, 2)))


def test_each_plan_is_a_point_with_its_layers_in_float() -> None:
    axes = curve(ADVICE).axes[0]
    assert np.asarray(axes.get_lines()[0].get_xydata()).tolist() == [[0, 25], [25, 31.5]]
    assert [text.get_text().strip() for text in axes.texts] == ["0", "2"]
    assert axes.get_xlabel() == "share of multiplications in float, %"


def test_time_is_the_cost_where_the_engine_has_prices() -> None:
    axes = curve(PRICED).axes[0]
    assert np.asarray(axes.get_lines()[0].get_xydata()).tolist() == [[0, 20], [0.25, 22]]
    assert axes.get_xlabel() == "estimated ms more than the fastest plan"


@pytest.mark.parametrize("suffix", ["svg", "pdf", "png"])
def test_a_chart_of_the_same_curve_is_the_same_file(suffix: str, tmp_path: Path) -> None:
    first, second = tmp_path / f"first.{suffix}", tmp_path / f"second.{suffix.upper()}"
    save_curve(ADVICE, first)
    save_curve(ADVICE, second)
    assert first.read_bytes() == second.read_bytes()
    assert suffix != "svg" or "model.onnx: int8 on tensorrt" in first.read_text(encoding="utf-8")


def test_another_format_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"curve\.txt: a chart is one of svg, pdf, png"):
        save_curve(ADVICE, tmp_path / "curve.txt")
    assert not list(tmp_path.iterdir())


def test_without_matplotlib_a_line_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(RequantError, match=r"pip install 'requant\[charts\]'"):
        save_curve(ADVICE, tmp_path / "curve.svg")


def test_the_command_refuses_a_chart_before_it_measures(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["advise", "none.onnx", "-c", "none.npz", "--chart", "curve.txt"]) == 2
    assert "a chart is one of" in capsys.readouterr().err
