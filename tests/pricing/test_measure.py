"""Prices are those that made the times."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

import requant
from requant.pricing import measure as module
from requant.pricing.chains import Counts
from requant.pricing.measure import measure
from requant.pricing.units import Shape, Unit
from requant.runtime.price_tables import VNNI
from requant.runtime.prices import BORDER, KERNELS, Prices
from requant.runtime.prices_file import read_prices
from requant.runtime.targets import TARGETS, Target

_timing = module._timing


def priced(counted: Counts, prices: Prices) -> float:
    total = 0.0
    for (name, on_integers), (products, elements, taps, calls) in counted.items():
        rates = prices.kernels.get(name)
        rate = (
            prices.border if name == BORDER or rates is None else rates.in_integers if on_integers else rates.in_float
        )
        total += products * rate.multiplication + elements * rate.element + taps * rate.tap + calls * rate.call
    return total


@pytest.fixture
def priced_times(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let each repetition take the time that it has by the table of VNNI."""
    monkeypatch.setattr(module, "_least_times", lambda models: [0.0, 0.0])
    monkeypatch.setattr(module, "on_integers", lambda model, engine, *, dynamic: model)

    def timing(unit: Unit, shape: Shape, engine: Target, *, integers: bool) -> tuple[Counts, float]:
        counted, _ = _timing(unit, shape, engine, integers=integers)
        return counted, priced(counted, VNNI)

    monkeypatch.setattr(module, "_timing", timing)


@pytest.mark.usefixtures("priced_times")
def test_the_measured_table_is_the_one_that_made_the_times() -> None:
    prices = measure(TARGETS["cpu"], "a test")
    assert prices.source == "a test"
    assert prices.border.element == pytest.approx(VNNI.border.element, rel=0.02)
    for name in set(KERNELS) - {"Concat", "Move"}:  # they share a rate
        for mine, theirs in (
            (prices.kernels[name].in_float, VNNI.kernels[name].in_float),
            (prices.kernels[name].in_integers, VNNI.kernels[name].in_integers),
        ):
            for field in ("multiplication", "element", "call"):
                expected = getattr(theirs, field)
                assert getattr(mine, field) == pytest.approx(expected, rel=0.02, abs=1e-4), (name, field)


def test_the_least_of_the_times_of_a_model_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(np.cumsum([0, 9, 0, 9, 0, 5, 0, 7, 0, 8, 0, 6]).tolist())
    monkeypatch.setattr("time.thread_time_ns", lambda: next(clock))
    monkeypatch.setattr(module, "TURNS", 3)
    monkeypatch.setattr(module, "SECONDS", 0.0)
    monkeypatch.setattr(module, "runner", lambda model, **_: lambda feed: [])
    monkeypatch.setattr(module, "_feed", lambda model: {})
    models: Sequence[ir.Model] = [ir.Model(ir.Graph([], [], nodes=[]), ir_version=8) for _ in range(2)]
    assert module._least_times(models) == [5, 6]


def test_measure_prices_writes_a_file_that_optimize_takes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def measured(engine: Target, source: str) -> Prices:
        assert engine.name == "cpu"
        return replace(VNNI, source=source)

    monkeypatch.setattr("requant.pricing.measure_prices.measure", measured)
    path = tmp_path / "prices.json"
    prices = requant.measure_prices(path)
    assert read_prices(path) == prices
    assert "onnxruntime" in prices.source


def test_nothing_is_measured_for_a_file_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(requant.OutputError, match="does not exist"):
        requant.measure_prices(tmp_path / "none" / "prices.json")
