"""Copies are made where a few channels stand out, and only there; the function stays what it was."""

from dataclasses import replace

import numpy as np
import onnx_ir as ir
import pytest

from models import synthetic
from requant.calib.collect import collect, statistics, watched
from requant.calib.statistics import measure
from requant.ir.canonical.canonicalize import canonicalize
from requant.ir.linear import find_linears
from requant.ir.load import load
from requant.ir.transform.transform import ChannelTransform
from requant.passes import SearchTransforms, SplitChannels
from requant.passes.annotations import site_records
from requant.passes.cost_model.observation import Observation
from requant.passes.cost_model.part import Part
from requant.passes.solvers import Identity, OffsetCopies, SmoothQuant, WithMargin
from requant.runtime.verify import verify

SPEC = synthetic.Transformer(layers=1)
FEEDS = synthetic.feeds(SPEC, 4)


def calibrated(builder: str, *, factor: float) -> ir.Model:
    """A transformer in whose MLP three channels of the first layer are ``factor`` times the rest."""
    proto = synthetic.BUILDERS[builder](SPEC)
    model = load(proto)
    for linear in find_linears(model.graph):
        if linear.outputs == SPEC.mlp_width and linear.weight.const_value is not None:
            data = linear.weight.const_value.numpy().copy()
            data[:, :3] *= factor
            linear.weight.const_value = ir.tensor(data, name=linear.weight.name)
    canonicalize(model)
    collect(model, FEEDS)
    return model


@pytest.mark.parametrize("builder", ["pre_norm", "post_norm", "windowed"])
def test_a_few_loud_channels_get_copies_and_nothing_changes(builder: str) -> None:
    model = calibrated(builder, factor=30.0)
    before = model.clone()
    assert SplitChannels(candidates=(Identity(), SmoothQuant(0.5)))(model).modified
    assert verify(before, model, FEEDS, rewrite="it") < 1e-5
    assert len(model.graph) == len(before.graph)
    (record,) = [record for record in site_records(model) if not record.reason]
    assert record.kind == "Split"
    assert record.solver.startswith("16 copies of ")
    assert record.error_after is not None
    assert record.error_before is not None
    assert record.error_after < 0.8 * record.error_before
    SearchTransforms()(model)
    assert verify(before, model, FEEDS, rewrite="both") < 1e-4


def test_statistics_follow() -> None:
    model = calibrated("pre_norm", factor=30.0)
    SplitChannels()(model)
    carried = {value.name: statistics(value) for value in watched(model)}
    again = model.clone()
    collect(again, FEEDS)
    for value in watched(again):
        closed, stats = carried[value.name], statistics(value)
        assert closed is not None
        assert stats is not None
        np.testing.assert_allclose(closed.minimum, stats.minimum, rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(closed.maximum, stats.maximum, rtol=1e-4, atol=1e-4)


def test_even_channels_are_left_alone_and_that_is_said() -> None:
    model = calibrated("pre_norm", factor=1.0)
    assert not SplitChannels(candidates=(Identity(),))(model).modified
    reasons = {record.name: record.reason for record in site_records(model)}
    assert any("would save less than 20 % of the loss" in reason for reason in reasons.values())


def observation(order: np.ndarray, seed: int = 0) -> Observation:
    """Channels as a split by ``order`` leaves them, of a value with even channels."""
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(500, order.max() + 1)).astype(np.float32)
    matrix = rng.normal(size=(order.max() + 1, 8)).astype(np.float32)
    shares = matrix[order] / np.bincount(order)[order, None].astype(np.float32)
    part = Part(measure(rows, -1, 0).taken(order), np.arange(len(order)), shares)
    return Observation(len(order), (part,), True, order=order)


def test_offset_copies_round_like_one_finer_channel() -> None:
    order = np.array([0, 1, 2, 0, 0, 0])
    data = observation(order)
    plain, offset = Identity()(data), OffsetCopies(Identity())(data)
    assert not plain.shifts
    assert np.count_nonzero(offset.shift) == 4
    (part,) = data.parts
    step = max(data.maximum.max() / 127, -data.minimum.min() / 128)

    def error(transform: ChannelTransform) -> float:
        rows = part.statistics.rows[:, order == 0]
        values = np.round((rows - transform.shift[order == 0]) / step) * step + transform.shift[order == 0]
        return float(np.sqrt(np.mean((values.mean(axis=1) - rows[:, 0]) ** 2)))

    assert error(offset) == pytest.approx(error(plain) / 4, rel=0.1)


def test_without_copies_there_are_no_offsets() -> None:
    data = observation(np.arange(4))
    assert not OffsetCopies(Identity())(data).shifts
    assert not OffsetCopies(Identity())(replace(data, order=None)).shifts
    assert not OffsetCopies(Identity())(replace(observation(np.array([0, 1, 0])), shiftable=False)).shifts


@pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
def test_a_margin_costs_its_share_of_noise_and_narrows_no_channel(share: float) -> None:
    data = observation(np.arange(6))
    plain, with_margin = SmoothQuant(0.9)(data), WithMargin(SmoothQuant(0.9), share)(data)
    assert (with_margin.scale >= plain.scale * (1 - 1e-12)).all()

    def noise(transform: ChannelTransform) -> float:
        return float(((transform.scale * data.weight_norm) ** 2).sum())

    assert noise(with_margin) == pytest.approx((1 + share) * noise(plain))
    levels = with_margin.scale * data.weight_norm
    assert np.ptp(levels[with_margin.scale > plain.scale * (1 + 1e-9)]) == pytest.approx(0, abs=1e-9) if share else True
