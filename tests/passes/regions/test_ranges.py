"""Ranges: the low end is that of least error behind the activation, never above 0, and the top is the data's."""

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from numpy.typing import NDArray
from scipy.special import expit

from requant.calib.statistics import ChannelStatistics, measure
from requant.ir.kernels import find_kernels
from requant.passes.regions.ranges import Reading, extended, interval, quantizer, reading, rounded, sample
from tests.passes.convnets import planned

Curve = Callable[[NDArray[np.float64]], NDArray[np.float64]]

DATA = np.random.default_rng(0).normal(-2, 4, size=(4000, 4)).astype(np.float32)
CURVES: dict[str, Curve] = {
    "Silu": lambda x: x * expit(x),
    "HardSwish": lambda x: x * np.clip(x / 6 + 0.5, 0, 1),
    "Sigmoid": expit,
}
BODIES = {
    "Silu": "c = Conv(x, u) g = Sigmoid(c) y = Mul(c, g)",
    "HardSwish": "c = Conv(x, u) y = HardSwish(c)",
    "Sigmoid": "c = Conv(x, u) y = Sigmoid(c)",
    "identity": "c = Conv(x, u) y = LeakyRelu(c)",
    "two": "c = Conv(x, u) s = Sigmoid(c) h = HardSwish(c) y = Add(s, h)",
    "others": "c = Conv(x, u) h = HardSwish(c) e = Exp(c) y = Add(h, e)",
    "size": "c = Conv(x, u) h = HardSwish(c) s = Shape(c) y = Reshape(h, s)",
}


def statistics(data: NDArray[np.floating[Any]]) -> ChannelStatistics:
    return measure(data, 1, 0)


def read_as(name: str) -> Reading:
    """Return what is made of the Conv's output in one of `BODIES`."""
    kernels = find_kernels(planned(BODIES[name]).graph)
    value = next(kernel.outputs[0] for kernel in kernels if kernel.linear is not None)
    return reading([value], [kernel for kernel in kernels if value in kernel.inputs])


@pytest.mark.parametrize("name", CURVES)
def test_the_function_is_the_activation_that_alone_reads_the_value(name: str) -> None:
    x = np.linspace(-9, 9, 50)
    np.testing.assert_allclose(read_as(name)(x), CURVES[name](x), atol=1e-12)


@pytest.mark.parametrize("name", ["identity", "two", "others"])
def test_it_is_the_value_itself_where_anything_else_reads_it(name: str) -> None:
    x = np.linspace(-9, 9, 50)
    np.testing.assert_array_equal(read_as(name)(x), x)


def test_asking_for_the_size_is_not_reading() -> None:
    assert read_as("size")(np.array([-9.0])) == 0


@pytest.mark.parametrize("name", CURVES)
def test_the_low_end_is_that_of_least_error_behind_the_activation(name: str) -> None:
    stats = statistics(DATA)
    low, high = interval(stats, read_as(name))
    assert (low, high) != (float(DATA.min()), float(DATA.max()))
    assert float(DATA.min()) < low < 0
    assert high == DATA.max(), "the top is never cut"
    x = sample(stats)

    def error(end: float) -> float:
        return float(np.square(CURVES[name](rounded(x, quantizer((end, high)))) - CURVES[name](x)).sum())

    assert error(low) < error(float(DATA.min())) / 1.5
    assert error(low) <= min(error(end) for end in (-1.0, -2.0, -3.0, -4.0, -6.0, -8.0))


@pytest.mark.parametrize("name", CURVES)
def test_scales_change_the_unit_of_the_interval_alone(name: str) -> None:
    plain, scaled = read_as(name), Reading(CURVES[name], np.full(4, 128.0))
    low, high = interval(statistics(DATA), plain)
    np.testing.assert_allclose(interval(statistics(DATA / 128), scaled), (low / 128, high / 128), rtol=1e-6)


def test_what_nothing_is_made_of_has_the_range_of_the_data() -> None:
    assert interval(statistics(DATA), read_as("identity")) == (DATA.min(), DATA.max())


def test_data_that_end_before_an_end_or_above_0_are_not_cut() -> None:
    small = statistics(DATA / 100)
    low, _ = interval(small, read_as("Silu"))
    assert low >= DATA.min() / 100
    assert interval(statistics(np.abs(DATA)), read_as("Silu")) == (np.abs(DATA).min(), np.abs(DATA).max())


@pytest.mark.parametrize("dtype", [ir.DataType.UINT8, ir.DataType.INT8])
@pytest.mark.parametrize("covered", [(-3.0, 20.0), (0.0, 7.0), (1.0, 7.0), (-7.0, -1.0)])
def test_the_quantizer_covers_0_and_the_interval(covered: tuple[float, float], dtype: ir.DataType) -> None:
    plan = quantizer(covered, dtype)
    x = np.linspace(*covered, 1000)
    assert np.abs(rounded(x, plan) - x).max() <= 1.001 * float(plan.scale), "half a step, and half for the zero point"
    assert rounded(np.zeros(1), plan) == 0


def by_group(ends: list[tuple[float, float]]) -> ChannelStatistics:
    """Return the statistics of samples that reach from the one end to the other, each in a group of its own."""
    parts = [measure(np.array([[low, high]], np.float32), 1, seed) for seed, (low, high) in enumerate(ends)]
    total = parts[0]
    for part in parts[1:]:
        total = total.merge(part)
    return total


@pytest.mark.parametrize(
    ("ends", "expected"),
    [
        ([(-4.0, 10.0), (-3.5, 9.0), (-3.0, 8.0)], (-4.5, 11.0)),
        ([(-4.0, 10.0), (-1.0, 2.0)], (-5.0, 12.5)),  # by a quarter at most
        ([(0.0, 6.0), (0.0, 6.0), (0.0, 5.0)], (0.0, 6.0)),  # bounds
        ([(-4.0, 10.0)], (-4.0, 10.0)),  # one group tells nothing of others
    ],
)
def test_a_range_is_extended_by_the_distance_of_its_last_two_groups(
    ends: list[tuple[float, float]], expected: tuple[float, float]
) -> None:
    assert extended(by_group(ends)) == expected
