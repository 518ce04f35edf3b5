"""The passes alone: exact, honest about what they did, and carrying statistics along."""

from dataclasses import replace

import numpy as np
import onnx_ir as ir
import pytest

from models import synthetic
from requant.calib.collect import collect, statistics, watched
from requant.ir.canonical.canonicalize import canonicalize
from requant.ir.channels.find import Site, find_sites
from requant.ir.load import load
from requant.passes import FoldScalesIntoNorms, MigrateChannelShifts, ReparameterizeScales, SearchTransforms
from requant.passes.annotations import site_records
from requant.passes.channel_pass import ChannelPass
from requant.passes.solvers import Awq, Gps, Identity, SmoothQuant
from requant.runtime.verify import verify

SPEC = synthetic.Transformer(layers=1)
FEEDS = synthetic.feeds(SPEC, 4)
PASSES = [
    FoldScalesIntoNorms(),
    FoldScalesIntoNorms(Awq()),
    FoldScalesIntoNorms(Gps()),
    MigrateChannelShifts(),
    ReparameterizeScales(),
    ReparameterizeScales(alpha=0.5),
    SearchTransforms(),
]


def calibrated(builder: str) -> ir.Model:
    model = load(synthetic.BUILDERS[builder](SPEC))
    canonicalize(model)
    collect(model, FEEDS)
    return model


@pytest.mark.parametrize("rewrite", PASSES, ids=lambda rewrite: repr(rewrite)[:40])
@pytest.mark.parametrize("builder", synthetic.BUILDERS)
def test_each_pass_is_exact_and_lowers_the_error_of_every_site(builder: str, rewrite: ChannelPass) -> None:
    model = calibrated(builder)
    before = model.clone()
    assert rewrite(model).modified
    assert verify(before, model, FEEDS, rewrite="it") < 1e-4
    done = [record for record in site_records(model) if not record.reason]
    assert done
    for record in done:
        assert record.error_before is not None
        assert record.error_after is not None
    assert np.mean([(r.error_after or 0) < (r.error_before or 0) for r in done]) > 0.7


def test_a_record_says_why_its_site_takes_no_shift() -> None:
    model = calibrated("rms_swiglu")
    reasons = {place.name: place.shift_blocked or "" for place in find_sites(model) if isinstance(place, Site)}
    SearchTransforms(insert=False)(model)
    assert any(reasons.values())
    assert {record.name: record.shift_blocked for record in site_records(model) if record.name in reasons} == reasons


@pytest.mark.parametrize("builder", synthetic.BUILDERS)
def test_statistics_follow_as_a_second_calibration_would_find_them(builder: str) -> None:
    model = calibrated(builder)
    SearchTransforms()(model)
    carried = {value.name: statistics(value) for value in watched(model)}
    again = model.clone()
    collect(again, FEEDS)
    for value in watched(again):
        closed, stats = carried[value.name], statistics(value)
        assert closed is not None
        assert stats is not None
        size = stats.magnitude.max()
        np.testing.assert_allclose(closed.minimum, stats.minimum, rtol=1e-3, atol=1e-4 * size)
        np.testing.assert_allclose(closed.maximum, stats.maximum, rtol=1e-3, atol=1e-4 * size)


def test_passes_compose_in_anyones_pass_manager() -> None:
    model = calibrated("pre_norm")
    before = model.clone()
    ir.passes.PassManager([MigrateChannelShifts(), FoldScalesIntoNorms()])(model)
    assert verify(before, model, FEEDS, rewrite="both") < 1e-4
    assert {record.pass_name for record in site_records(model)} == {"MigrateChannelShifts", "FoldScalesIntoNorms"}


def test_a_model_without_statistics_is_refused() -> None:
    model = load(synthetic.pre_norm(SPEC))
    canonicalize(model)
    with pytest.raises(ir.passes.PreconditionError, match="no statistics"):
        SearchTransforms()(model)


def test_a_model_without_linear_layers_needs_no_statistics() -> None:
    model = ir.from_onnx_text('<ir_version: 8, opset_import: ["": 17]> g (float[2] x) => (float[2] y) { y = Relu(x) }')
    assert not SearchTransforms()(model).modified


def test_the_identity_changes_nothing_and_says_so() -> None:
    model = calibrated("pre_norm")
    assert not SearchTransforms((Identity(),))(model).modified
    reasons = {record.reason for record in site_records(model) if record.kind != "QK"}
    assert reasons == {"no candidate has a lower loss than the identity"}


def test_norm_sites_of_pre_norm_transformers_add_no_nodes_and_post_norm_ones_restore() -> None:
    """The scale takes a Mul; the shift goes into the bias of the layer whose output it is added to."""
    for builder, added in (("pre_norm", 0), ("windowed", 0), ("post_norm", 1)):
        model = calibrated(builder)
        replace(SearchTransforms((SmoothQuant(0.8, shift=True),)), insert=False)(model)
        counts = {record.added_nodes for record in site_records(model) if record.restored or builder != "post_norm"}
        assert counts == {added}, builder


def test_nodes_are_bought_only_where_they_pay() -> None:
    """Even channels: an inserted Mul and Add would gain next to nothing."""
    spec = replace(SPEC, outliers=synthetic.Outliers(0))
    model = load(synthetic.pre_norm(spec))
    canonicalize(model)
    collect(model, synthetic.feeds(spec, 4))
    SearchTransforms()(model)
    inserted = [record for record in site_records(model) if record.kind == "Inserted"]
    assert inserted
    assert all(
        not record.added_nodes or (record.error_after or 0) * 1.3 < (record.error_before or 0) for record in inserted
    )


def model_of(text: str, seed: int = 0) -> ir.Model:
    """The graph in ``text``, whose one-letter values g, k, v and w are weights with a few large rows."""
    model, rng = ir.from_onnx_text(text), np.random.default_rng(seed)
    for value in {value for node in model.graph for value in node.inputs if value and value.name in {*"gkvw"}}:
        assert value.shape is not None
        data = rng.normal(size=value.shape.numpy()).astype(np.float32)
        data[:2] *= 20
        value.const_value = ir.tensor(data, name=value.name)
        model.graph.register_initializer(value)
    canonicalize(model)
    return model


HEAD = '<ir_version: 8, opset_import: ["": 17]> g '
CROSSED = {
    "an inserted transform": "(float[2, 32, 1, 48] x) => (float[2, 16, 1, 48] y, float[2, 32, 1, 16] z) "
    "<float[16, 32, 1, 1] k, float[48, 16] w> { r = Tanh(x) y = Conv(r, k) z = MatMul(r, w) }",
    "a value after a norm": "(float[2, 1, 48, 32] x) => (float[2, 16, 1, 48] y, float[2, 32, 1, 16] z) "
    "<float[32] g, float[16, 32, 1, 1] k, float[48, 16] w> { n = LayerNormalization(x, g) "
    "t = Transpose<perm=[0, 3, 1, 2]>(n) y = Conv(t, k) z = MatMul(t, w) }",
}


@pytest.mark.parametrize("graph", CROSSED.values(), ids=CROSSED.keys())
@pytest.mark.parametrize("swapped", [False, True])
def test_a_value_that_two_layers_read_along_different_axes_is_left_whole(graph: str, swapped: bool) -> None:
    first, second = (part for part in graph.split("y = ")[1].rstrip("} ").split("z = "))
    if swapped:
        graph = graph.split("y = ")[0] + f"z = {second} y = {first}}}"
    model = model_of(HEAD + graph)
    shape = model.graph.inputs[0].shape
    assert shape is not None
    feeds = [{"x": np.random.default_rng(1).normal(size=shape.numpy()).astype(np.float32)}]
    collect(model, feeds)
    before = model.clone()
    SearchTransforms((SmoothQuant(0.8, shift=True),))(model)
    assert verify(before, model, feeds, rewrite="it") < 1e-4


def test_a_linear_that_cannot_absorb_gets_the_value_back_with_its_statistics() -> None:
    """The second MatMul contracts the tokens, not the channels, so its input is restored and quantized all the same."""
    model = model_of(
        HEAD + "(float[2, 16, 32] x) => (float[2, 16, 16] y, float[2, 32, 16] z) "
        "<float[32] g, float[32, 16] w, float[16, 16] v> "
        "{ n = LayerNormalization(x, g) y = MatMul(n, w) t = Transpose<perm=[0, 2, 1]>(n) z = MatMul(t, v) }"
    )
    feeds = [{"x": np.random.default_rng(i).normal(size=(2, 16, 32)).astype(np.float32)} for i in range(2)]
    collect(model, feeds)
    before = model.clone()
    SearchTransforms((SmoothQuant(0.8, shift=True),))(model)
    assert verify(before, model, feeds, rewrite="it") < 1e-4
    assert all(statistics(value) for value in watched(model))


def shifted_rms(offset: float) -> ir.Model:
    """RMSNorm and a product without bias; half of the 64 channels lie ``offset`` off the middle, three are large."""
    header = '<ir_version: 11, opset_import: ["": 23]> g (float[128, 64] x) => (float[128, 48] y)'
    body = "<float[64] g, float[64, 48] w> { n = RMSNormalization<axis = -1>(x, g) y = MatMul(n, w) }"
    model, rng = ir.from_onnx_text(header + body), np.random.default_rng(0)
    weights = {"g": np.where(np.arange(64) < 3, 30.0, 1.0), "w": rng.normal(size=(64, 48))}
    values = {value.name: value for node in model.graph for value in node.inputs if value is not None}
    for name, data in weights.items():
        values[name].const_value = ir.tensor(data.astype(np.float32), name=name)
        model.graph.register_initializer(values[name])
    canonicalize(model)
    collect(model, [{"x": (rng.normal(size=(128, 64)) + offset * (np.arange(64) % 2)).astype(np.float32)}])
    return model


@pytest.mark.parametrize(("offset", "nodes"), [(0.0, 0), (100.0, 2)])
def test_where_the_scale_is_free_a_shift_must_save_much(offset: float, nodes: int) -> None:
    model = shifted_rms(offset)
    SearchTransforms()(model)
    (record,) = (record for record in site_records(model) if record.kind == "RMSNorm")
    assert not record.reason
    assert ("scale only" in record.solver) == (nodes == 0)
    assert record.added_nodes == nodes


@pytest.mark.parametrize("builder", synthetic.BUILDERS)
def test_sites_of_pre_norm_transformers_add_no_nodes(builder: str) -> None:
    model = calibrated(builder)
    SearchTransforms()(model)
    free = ("LayerNorm", "RMSNorm", "Attention", "GatedMLP")
    added = {record.kind: record.added_nodes for record in site_records(model) if record.kind in free}
    assert added
    if builder != "post_norm":
        assert not any(added.values())
