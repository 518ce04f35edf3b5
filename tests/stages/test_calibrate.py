"""Calibration: warnings point at the line that calls `optimize`, and few bits get more rows."""

from collections.abc import Callable

import numpy as np
import onnx
import pytest

import requant
from models import synthetic
from models.synthetic import Transformer
from requant.calib.statistics import MANY_ROWS, ROWS

SPEC = Transformer(width=32, heads=4, layers=1)


def test_the_warning_about_missing_data_is_the_caller_s() -> None:
    with pytest.warns(requant.SyntheticCalibrationWarning) as caught:
        requant.optimize(synthetic.pre_norm(SPEC))
    assert caught[0].filename == __file__


def test_the_warning_about_poor_data_is_the_caller_s() -> None:
    with pytest.warns(requant.CalibrationWarning) as caught:
        requant.optimize(synthetic.pre_norm(SPEC), {"x": np.zeros((4, 16, 32), np.float32)})
    assert {warning.filename for warning in caught} == {__file__}


@pytest.mark.parametrize(("recipe", "most"), [("int8", ROWS), ("int8-weight", ROWS), ("int4-weight", MANY_ROWS)])
def test_weights_of_few_bits_are_rounded_on_more_rows(
    recipe: str, most: int, build: Callable[[str], onnx.ModelProto], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = list[int]()

    def collect(*_: object, rows: int, **__: object) -> int:
        asked.append(rows)
        raise requant.errors.DataError("enough")

    monkeypatch.setattr("requant.stages.calibrate.collect", collect)
    proto = build("(float[n, 64] x) => (float[n, 64] y) <float[64, 64] w> { y = MatMul(x, w) }")
    with pytest.raises(requant.errors.DataError, match="enough"):
        requant.optimize(proto, {"x": np.ones((4, 64), np.float32)}, recipe)
    assert asked == [most]
