"""Grids: one quantizer for values that are moved into one another, within the bounds that saturation stands for."""

import numpy as np
import onnx_ir as ir
import pytest

from requant.calib.activations import ACTIVATION, activation
from requant.ir.kernels import find_kernels
from requant.ir.quantizer import Quantizer
from requant.passes.regions.grids import grids, within_bounds
from tests.passes.convnets import WEIGHTS, Arrays, measured, random, source

STEM = "c = Conv(x, u, b)"
WIDE = {"z": random((32, 64, 1, 1)), "bound": np.array(1.5, np.float32), "floor": np.array(-0.7, np.float32)}


def quantizers(
    body: str, dtype: ir.DataType = ir.DataType.UINT8, weights: Arrays | None = None
) -> dict[str, Quantizer]:
    """Return the quantizers of the values of a network by name."""
    model = measured(source(body, {**WIDE, **(weights or {})}))
    return {value.name or "": plan for value, plan in grids(find_kernels(model.graph), dtype).items()}


def fits(body: str, dtype: ir.DataType = ir.DataType.UINT8) -> list[bool]:
    """Tell of each kernel of a network whether its integers are within its bounds."""
    kernels = find_kernels(measured(source(body, WIDE)).graph)
    plans = grids(kernels, dtype)
    return [within_bounds(kernel, plans) for kernel in kernels]


@pytest.mark.parametrize(
    ("body", "shared"),
    [
        (f"{STEM} d = Conv(c, w) t = Concat<axis = 1>(c, d) y = Conv(t, z)", "cdt"),
        (f"{STEM} p = MaxPool<kernel_shape = [2, 2]>(c) y = Conv(p, w)", "cp"),
        (f"{STEM} s, t = Split<axis = 2>(c) d = Conv(s, w) y = Concat<axis = 2>(d, t)", "cstdy"),
        (f"{STEM} d = Conv(c, w) t = Concat<axis = 1>(c, c) y = Conv(t, z)", "ct"),
    ],
    ids=["Concat", "MaxPool", "Split and Concat", "twice"],
)
def test_values_that_are_moved_share_a_quantizer(body: str, shared: str) -> None:
    plans = quantizers(body)
    assert len({id(plans[name]) for name in shared}) == 1
    assert len({id(plan) for name, plan in plans.items() if name not in shared}) == len(plans.keys() - set(shared))


def test_a_shared_quantizer_covers_all_of_them() -> None:
    body = f"{STEM} d = Conv(c, w) t = Concat<axis = 1>(c, d) y = Conv(t, z)"
    model = measured(source(body, WIDE))
    values = {value.name: value for kernel in find_kernels(model.graph) for value in kernel.values}
    stats = [entry.statistics for name in "cd" if (entry := activation(values[name])) is not None]
    plan = quantizers(body)["t"]
    low, high = plan.decode(np.array([0, 255]))
    assert low <= min(one.minimum.min() for one in stats if one) + plan.scale / 2
    assert high >= max(one.maximum.max() for one in stats if one) - plan.scale / 2


@pytest.mark.parametrize("kind", ["all 0", "masks", "not measured"])
def test_values_without_a_usable_range_have_none_nor_what_shares_it(kind: str) -> None:
    factor = {"all 0": 0.0, "masks": 1e17, "not measured": 1.0}[kind]
    body = f"{STEM} d = Conv(c, q) t = Concat<axis = 1>(c, d) y = Conv(t, z)"
    model = measured(source(body, {**WIDE, "q": (factor * random(WEIGHTS["q"])).astype(np.float32)}))
    kernels = find_kernels(model.graph)
    values = {value.name: value for kernel in kernels for value in kernel.values}
    if kind == "not measured":
        del values["d"].meta[ACTIVATION]
    planned = {value.name for value in grids(kernels, ir.DataType.UINT8)}
    assert not {"c", "d", "t"} & planned
    assert "x" in planned


@pytest.mark.parametrize("dtype", [ir.DataType.UINT8, ir.DataType.INT8])
@pytest.mark.parametrize("clip", ["Clip(c, zero, bound)", "Clip(c, floor, bound)", "Clip(c, floor, )", "Relu(c)"])
def test_data_that_reach_the_bounds_of_a_clip_stay_within(clip: str, dtype: ir.DataType) -> None:
    """The scale in float32 may be larger than the exact one, and the zero point is rounded."""
    body = f"{STEM} r = {clip} y = Conv(r, w)"
    model = measured(source(body, WIDE))
    value = next(value for kernel in find_kernels(model.graph) for value in kernel.outputs if value.name == "r")
    entry = activation(value)
    assert entry is not None
    assert entry.statistics is not None
    low, high = quantizers(body, dtype)["r"].decode(np.array([int(dtype.min), int(dtype.max)]))
    assert low >= {"Relu(c)": 0.0, "Clip(c, zero, bound)": 0.0}.get(clip, -0.7) - 1e-7
    step = (high - low) / 255
    assert entry.statistics.maximum.max() - step < high
    assert entry.statistics.minimum.min() + step > low
    assert all(fits(body, dtype))


@pytest.mark.parametrize("low", [-0.0525, -0.048, -0.004, -0.001, 0.0])
def test_a_clip_with_a_low_end_of_few_steps_keeps_the_range(low: float) -> None:
    """The zero point goes to the side that leaves the larger scale."""
    weights = {"floor": np.array(low, np.float32), "bound": np.array(2, np.float32), "u": 3 * random(WEIGHTS["u"])}
    plan = quantizers(f"{STEM} r = Clip(c, floor, bound) y = Conv(r, w)", weights=weights)["r"]
    lowest, highest = plan.decode(np.array([0, 255]))
    assert np.float32(low) <= lowest <= low + 1.01 * plan.scale
    assert 2 - 1.01 * plan.scale <= highest <= 2


def test_a_range_that_others_widen_is_beyond_the_bounds() -> None:
    body = f"{STEM} r = Relu(c) d = Conv(x, u) t = Concat<axis = 1>(r, d) y = Conv(t, z)"
    assert fits(body) == [False, True, True, True]
    assert all(fits(body.replace("Conv(x, u) t", "Conv(x, u) s = Relu(d) t").replace("(r, d)", "(r, s)")))


def test_gates_have_the_range_of_their_function() -> None:
    plan = quantizers(f"{STEM} g = Sigmoid(c) d = Conv(c, w) y = Mul(d, g)")["g"]
    np.testing.assert_allclose(plan.decode(np.array([0, 255])), [0, 1], atol=1e-6)
