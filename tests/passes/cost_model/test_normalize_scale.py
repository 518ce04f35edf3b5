"""The factor that all scales of a transform share: free, and chosen so that values reach as far as before."""

import numpy as np
import onnx_ir as ir
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from models import synthetic
from requant.calib.collect import collect, statistics
from requant.calib.statistics import measure
from requant.ir.canonical.canonicalize import canonicalize
from requant.ir.linear import find_linears
from requant.ir.load import load
from requant.ir.transform.transform import ChannelTransform
from requant.passes import SearchTransforms
from requant.passes.cost_model.normalize_scale import normalize_scale
from requant.passes.cost_model.observation import Observation
from requant.passes.cost_model.part import Part


def observation(rows: NDArray[np.float32]) -> Observation:
    channels = rows.shape[1]
    part = Part(measure(rows, 1, 0), np.arange(channels), np.ones((channels, 2), np.float32))
    return Observation(channels, (part,), shiftable=True)


@given(st.integers(-60, 60), st.integers(0, 5))
def test_it_is_a_power_of_two_that_undoes_any_other(exponent: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(8, 4)).astype(np.float32) * 10
    transform = ChannelTransform(rng.uniform(0.5, 2, 4), rng.normal(size=4))
    normalized, shifted = (
        normalize_scale(ChannelTransform(np.ldexp(transform.scale, k), transform.shift), observation(rows))
        for k in (0, exponent)
    )
    np.testing.assert_array_equal(normalized.scale, shifted.scale)
    np.testing.assert_array_equal(normalized.shift, transform.shift)
    assert set(np.log2(normalized.scale / transform.scale) % 1) == {0.0}
    reach = np.abs((rows - normalized.shift) / normalized.scale).max() / np.abs(rows).max()
    assert 0.7 < reach < 1.42, "half a power of two either way"


@pytest.mark.parametrize("rows", [np.zeros((8, 4), np.float32), np.ones((8, 4), np.float32)])
def test_what_has_no_reach_is_left_as_it_is(rows: NDArray[np.float32]) -> None:
    transform = ChannelTransform(np.array([1.0, 2, 3, 4]), rows[0].astype(np.float64))
    assert normalize_scale(transform, observation(rows)) is transform


def test_a_shift_alone_gets_no_scale() -> None:
    transform = ChannelTransform(np.ones(4), np.full(4, 9.0))
    assert normalize_scale(transform, observation(np.full((8, 4), 10, np.float32))) is transform


def test_no_site_leaves_its_range() -> None:
    """Weights of a thousandth would otherwise let the scales grow by 2^7."""
    spec = synthetic.Transformer(layers=1)
    model = load(synthetic.pre_norm(spec))
    for value in model.graph.initializers.values():
        if value.const_value is not None and len(value.const_value.shape) == 2:
            value.const_value = ir.tensor(value.const_value.numpy() / 1000, name=value.name)
    canonicalize(model)
    collect(model, synthetic.feeds(spec, 4))
    before = {linear.name: reach(linear.data) for linear in find_linears(model.graph)}
    assert SearchTransforms()(model).modified
    after = {linear.name: reach(linear.data) for linear in find_linears(model.graph)}
    del after["layers.0.matmul_7"]  # which is only shifted, to a small part of its range
    assert all(0.4 < after[name] / before[name] < 2.5 for name in after)


def reach(value: ir.Value) -> float:
    stats = statistics(value)
    assert stats is not None
    return float(stats.magnitude.max())
