"""Prices of kernels, fitted to the times of what they make up."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import nnls

from .kernel_amounts import CALL, COUNTED, ELEMENT, MAC, TAP, Amounts
from .kernel_chains import Shape
from .kernel_units import Unit

UNITS_OF_SECONDS = dict(zip(COUNTED, (1e12, 1e9, 1e9, 1e9, 1e6), strict=True))

Prices = Mapping[str, Mapping[str, float]]
"""By kernel and by what it is counted in."""


@dataclass(frozen=True)
class Timing:
    """The seconds that one repetition of a unit takes at a shape."""

    unit: Unit
    shape: Shape
    seconds: float


def fitted(timings: Sequence[Timing]) -> Prices:
    """Fit prices to all timings at once: non-negative least squares of relative errors."""
    columns = sorted({(k.name, per) for one in timings for k in one.unit.kernels for per in k.amounts(one.shape)})
    matrix = np.zeros((len(timings), len(columns)))
    for row, one in enumerate(timings):
        for kernel in one.unit.kernels:
            for per, amount in kernel.amounts(one.shape).items():
                matrix[row, columns.index((kernel.name, per))] += amount / UNITS_OF_SECONDS[per] / one.seconds
    solution, _ = nnls(matrix, np.ones(len(timings)))
    found: dict[str, dict[str, float]] = {}
    for (name, per), price in zip(columns, solution, strict=True):
        found.setdefault(name, {})[per] = float(price)
    return found


def predicted(timing: Timing, prices: Prices) -> float:
    """Return the seconds that a unit takes at a shape by the prices of its kernels."""
    return sum(seconds_by(prices, kernel.name, kernel.amounts(timing.shape)) for kernel in timing.unit.kernels)


def seconds_by(prices: Prices, name: str, amounts: Amounts) -> float:
    """Return the seconds that a kernel takes by its prices."""
    return sum(prices[name][per] * amount / UNITS_OF_SECONDS[per] for per, amount in amounts.items())


ZEN_4: Mapping[str, Mapping[str, str]] = {
    "Conv 1x1": {MAC: "17.9", ELEMENT: "0.12", CALL: "7"},
    "Conv 3x3": {MAC: "16.8", TAP: "0.7", CALL: "17"},
    "QLinearConv 1x1": {MAC: "4.5", ELEMENT: "0.09", CALL: "11"},
    "QLinearConv 3x3": {MAC: "4.3", TAP: "1.4", CALL: "14"},
    "depthwise": {MAC: "22", ELEMENT: "0.16", CALL: "9"},
    "QLinearConv depthwise": {MAC: "25", ELEMENT: "0.22", CALL: "12"},
    "QuickGelu": {ELEMENT: "0.29", CALL: "3"},
    "QLinearSigmoid": {ELEMENT: "0.25", CALL: "10"},
    "QLinearMul": {ELEMENT: "0.22"},
    "HardSigmoid": {ELEMENT: "0.15", CALL: "3"},
    "Add": {ELEMENT: "0.10", CALL: "4"},
    "Mul": {ELEMENT: "0.10", CALL: "4"},
    "QLinearAdd": {ELEMENT: "0.09 to 0.16", CALL: "7"},
    "Q": {ELEMENT: "0.12", CALL: "4"},
    "DQ": {ELEMENT: "0.11", CALL: "4"},
    "ReorderInput and -Output": {ELEMENT: "0.14", CALL: "6"},
    "Transpose, uint8": {ELEMENT: "0.17", CALL: "3"},
    "Mul by gate": {ELEMENT: "0.1"},
    "QLinearMul by gate": {ELEMENT: "0.3, 0.9 for 16 channels"},
    "GlobalAveragePool": {ELEMENT: "0.19"},
    "QLinearGlobalAveragePool": {ELEMENT: "0.05"},
    "QLinearConcat and Slice, one grid": {ELEMENT: "0.03 to 0.07"},
    "QLinearConcat and Slice, two grids": {ELEMENT: "0.3 to 0.4"},
    "QLinearAveragePool 3x3": {ELEMENT: "5"},
    "Resize, uint8": {ELEMENT: "0.85"},
}
"""Prices of the same kernels on a Zen 4 core, in four networks: YOLOv8n, SVTR, DBNet and PicoDet."""
