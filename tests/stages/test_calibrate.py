"""Warnings about calibration point at the line that calls `optimize`."""

import numpy as np
import pytest

import requant
from models import synthetic
from models.synthetic import Transformer

SPEC = Transformer(width=32, heads=4, layers=1)


def test_the_warning_about_missing_data_is_the_caller_s() -> None:
    with pytest.warns(requant.SyntheticCalibrationWarning) as caught:
        requant.optimize(synthetic.pre_norm(SPEC))
    assert caught[0].filename == __file__


def test_the_warning_about_poor_data_is_the_caller_s() -> None:
    with pytest.warns(requant.CalibrationWarning) as caught:
        requant.optimize(synthetic.pre_norm(SPEC), {"x": np.zeros((4, 16, 32), np.float32)})
    assert {warning.filename for warning in caught} == {__file__}
