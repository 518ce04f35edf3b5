"""Chains of kernels and the prices that are fitted to their times."""

from dataclasses import replace

import numpy as np
import onnxruntime
import pytest
from numpy.typing import NDArray

from benchmarks.kernel_amounts import CALL, ELEMENT, MAC, elementwise
from benchmarks.kernel_chains import Build, Shape, repeated
from benchmarks.kernel_prices import UNITS_OF_SECONDS, Timing, fitted, predicted
from benchmarks.kernel_units import UNITS, Unit

BY_NAME = {unit.name: unit for unit in UNITS}
SHAPE = Shape(16, 6)


X = np.random.default_rng(0).standard_normal((1, 16, 6, 6), np.float32)


def run(build: Build, length: int, *, quantized: bool) -> NDArray[np.float32]:
    """Return what a chain makes of X; it ends with a Neg."""
    model = repeated(build, SHAPE, length, quantized=quantized).SerializeToString()
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    return -np.asarray(session.run(None, {"x": X})[0])


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_a_unit_keeps_the_shape_and_its_values_neither_overflow_nor_become_subnormal(unit: Unit) -> None:
    y = run(unit.build, 10, quantized=unit.quantized)
    assert y.shape == X.shape
    assert np.isfinite(y).all()
    assert np.abs(y[y != 0]).min(initial=1.0) > 1e-30


@pytest.mark.parametrize("spelling", ["Add", "table"])
def test_both_spellings_of_hard_swish_compute_it(spelling: str) -> None:
    x = run(lambda chain, x: x, 1, quantized=True)
    y = run(BY_NAME[f"HardSwish by {spelling}, int8"].build, 1, quantized=True)
    assert np.abs(y - x * np.clip(x / 6 + 0.5, 0, 1)).max() < 0.05  # the step of the codes is 0.05


def test_fitted_prices_are_those_that_made_the_times() -> None:
    cheap, dear = elementwise("cheap", "Neg"), elementwise("dear", "Exp", elements=2)
    prices = {"cheap": {ELEMENT: 0.25, CALL: 3.0}, "dear": {ELEMENT: 0.5, CALL: 0.0}}
    shapes = Shape(16, 10), Shape(16, 40), Shape(64, 80)
    unit = replace(UNITS[0], kernels=(cheap,))
    timings = [
        Timing(one, shape, predicted(Timing(one, shape, 0.0), prices))
        for one in (unit, replace(unit, kernels=(cheap, dear)))
        for shape in shapes
    ]
    for name, price in fitted(timings).items():
        assert price == pytest.approx(prices[name], abs=1e-6)


def test_seconds_of_a_conv_are_counted_in_macs() -> None:
    conv = BY_NAME["Conv 3x3, float"].kernels[0]
    assert conv.amounts(SHAPE)[MAC] == 16 * 16 * 9 * 36
    prices = {conv.name: dict.fromkeys(conv.amounts(SHAPE), 0.0) | {MAC: 10.0}}
    seconds = predicted(Timing(BY_NAME["Conv 3x3, float"], SHAPE, 0.0), prices)
    assert seconds == pytest.approx(16 * 16 * 9 * 36 * 10 / UNITS_OF_SECONDS[MAC])
