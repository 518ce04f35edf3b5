"""Sensitivity: the noise of a value's rounding at the outputs, and the nodes that are omitted where there is none."""

from dataclasses import replace

import numpy as np
import onnx_ir as ir
import pytest
from numpy.typing import NDArray

from requant.calib.collect import FIRST, collect
from requant.ir.canonical.canonicalize import canonicalize
from requant.ir.channels.inserted import find_inserted
from requant.ir.channels.site import Site
from requant.ir.formats import FP8, INT8
from requant.ir.linear import find_linears
from requant.ir.transform.transform import ChannelTransform
from requant.passes import SearchTransforms
from requant.passes.annotations import site_records
from requant.passes.cost_model.observation import observe
from requant.passes.cost_model.prune_inserted import prune_inserted, site_steps
from requant.passes.cost_model.sensitivity import SensitivityProbe, plain_steps, rounding_step
from requant.passes.records import SiteRecord
from requant.passes.solvers import Shift
from requant.runtime.feeds import Feed
from requant.runtime.session import runner

HEADER = '<ir_version: 8, opset_import: ["": 17]> g '
MATMUL = "(float[8, 16] x) => (float[8, 4] y) <float[16, 4] w> { y = MatMul(x, w) }"
NUMBERED = """(float[8, 16] x) => (float[8, 4] y) <float[16, 4] w> {
    val_0 = Neg(x)
    val_1 = Neg(val_0)
    y = MatMul(val_1, w)
}"""
CONV = "(float[2, 16, 3, 3] x) => (float[2, 4, 3, 3] y) <float[4, 16, 1, 1] w> { y = Conv(x, w) }"
BRANCHES = """(float[8, 16] x, float[8, 16] z) => (float[8, 4] y) <float[16, 4] w, float[16, 4] v, float part> {{
    a = MatMul(x, w)
    b = MatMul(z, v)
    c = Mul(b, part)
    y = {}
}}"""
QUIET, ALOUD = BRANCHES.format("Add(a, c)"), BRANCHES.format("Mul(a, c)")
COUNTED = """(float[8, 16] x) => ({0}[2, n] y) <float[16, 4] w> {{
    a = MatMul(x, w)
    r = Round(a)
    n = NonZero(r)
    y = Cast<to = {1}>(n)
}}"""


def model_of(text: str, feeds: int = 2) -> tuple[ir.Model, list[Feed]]:
    """The model, calibrated on data of which one channel reaches far beyond the others and far from 0."""
    model, rng = ir.from_onnx_text(HEADER + text), np.random.default_rng(0)
    for value in {value.name: value for node in model.graph for value in node.inputs if value}.values():
        if value.producer() is not None or (value.name or "")[0] not in "wvp":
            continue
        shape = value.shape.numpy() if value.shape is not None else ()
        weight = rng.normal(size=shape) if shape else np.array(1e-4)
        if shape[:1] == (16,):
            weight[3] /= 50
        value.const_value = ir.tensor(weight.astype(np.float32), name=value.name)
        model.graph.register_initializer(value)
    canonicalize(model)
    data: list[Feed] = [{value.name or "": outlying(value, rng) for value in model.graph.inputs} for _ in range(feeds)]
    collect(model, data)
    return model, data


def outlying(value: ir.Value, rng: np.random.Generator) -> NDArray[np.float32]:
    assert value.shape is not None
    data = rng.normal(size=value.shape.numpy())
    data[:, 3] = 40 * data[:, 3] + 100
    return data.astype(np.float32)


@pytest.mark.parametrize("text", [MATMUL, CONV, NUMBERED])
def test_the_noise_is_that_of_the_rounding_after_the_transform(text: str) -> None:
    """Whatever exporters call values: some number them, as onnx-ir does what has no name."""
    model, feeds = model_of(text)
    (linear,) = find_linears(model.graph)
    transform = ChannelTransform(np.linspace(0.5, 2, 16), np.linspace(-1, 1, 16))
    probe, step = SensitivityProbe.of(model, INT8), rounding_step(linear, transform, INT8)
    run, noise = runner(model), probe.noise({linear.data.name or "": step}, 4)
    assert noise.shape == (len(feeds), 1)
    for feed, actual_noise in zip(feeds, noise[:, 0], strict=True):
        integers = np.clip(np.round((feed["x"].astype(np.float32) - step.shift) / step.step), -128, 127)
        data = (integers * step.step + step.shift).astype(np.float32)
        expected, actual = run(feed)[0].astype(np.float64), run({"x": data})[0].astype(np.float64)
        assert actual_noise == pytest.approx(np.square(actual - expected).sum(), rel=1e-3)
    assert noise.min() > 0
    assert not probe.noise({}, 4).any()
    assert probe.noise({}, 1).shape == (1, 1)


def records(text: str) -> dict[str, SiteRecord]:
    model, _ = model_of(text)
    SearchTransforms()(model)
    return {record.name: record for record in site_records(model) if record.kind == "Inserted"}


def test_nodes_that_do_not_change_the_outputs_are_omitted() -> None:
    """The same values: first a whisper beside another branch, then half of a product."""
    quiet, aloud = records(QUIET), records(ALOUD)
    assert [quiet[name].added_nodes for name in "xz"] == [aloud["x"].added_nodes, 0]
    assert quiet["z"].reason == "skipped: it would not change the model's output measurably"
    assert quiet["z"].error_after == quiet["z"].error_before
    assert aloud["x"].added_nodes > 0
    assert aloud["z"].added_nodes > 0


def test_nodes_that_change_the_outputs_together_are_not_omitted_together() -> None:
    """Eight times the same data: their noises add up to 64 times that of one, and each alone is about a hundredth."""
    names, weights = [f"x{i}" for i in range(8)], [f"w{i}" for i in range(8)]
    inputs = "".join(f"float[8, 16] {name}, " for name in names)
    products = "".join(f"m{name} = MatMul({name}, {weight}) " for name, weight in zip(names, weights, strict=True))
    weight_inputs = ", ".join(f"float[16, 4] {weight}" for weight in [*weights, "v"])
    text = f"({inputs}float[8, 16] z) => (float[8, 4] y) <{weight_inputs}, float part> {{ {products} "
    text += f"s = Sum({', '.join(f'm{name}' for name in names)}) t = Mul(s, part) m = MatMul(z, v) y = Add(t, m) }}"
    model, feeds = model_of(text)
    for weight in weights:
        model.graph.initializers[weight].const_value = model.graph.initializers["w0"].const_value
    feeds = [{**feed, **dict.fromkeys(names, feed["x0"])} for feed in feeds]
    collect(model, feeds)
    sites = [site for site in find_inserted(model, []) if isinstance(site, Site)]
    solved = [(site, Shift()(observation)) for site in sites if (observation := observe(site)) is not None]
    assert [site.name for site, _ in solved] == [*names, "z"]
    together = {name: step for site, transform in solved for name, step in site_steps(site, transform, INT8).items()}
    plain = plain_steps(model, INT8)

    def share(*names_in: str) -> float:
        probe = SensitivityProbe.of(model, INT8)
        expected = (
            {name: plain[name] for name in names_in}
            if len(names_in) == 1
            else together | {n: plain[n] for n in names_in}
        )
        return float((probe.noise(expected, 2) / probe.noise(together, 2)).mean())

    part = model.graph.initializers["part"]
    assert part.const_value is not None
    louder = (0.014 / share("x0")) ** 0.5
    part.const_value = ir.tensor(part.const_value.numpy() * np.float32(louder), name="part")
    assert 8 * share("x0") < 0.1
    assert share(*names) > 1.1 > share(*names[:4])
    assert len(prune_inserted(model, solved, INT8) & set(names)) == 4
    assert not prune_inserted(model, solved, FP8), "its steps are not even"


def test_small_outputs_are_measured_on_more_feeds() -> None:
    """32 numbers come out of each feed."""
    model, _ = model_of(MATMUL, feeds=6)
    probe = SensitivityProbe.of(model.clone(), INT8)
    assert len(probe.feeds) == 4
    assert probe.enough == 4
    assert replace(probe, expected=([np.zeros(900)], [np.zeros(900)])).enough == 2


def test_only_so_many_sites_are_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("requant.passes.cost_model.prune_inserted.MOST_PASSES", 1)
    assert records(QUIET)["z"].added_nodes > 0, "it would take two passes"


def test_without_feeds_every_node_that_pays_is_added() -> None:
    model, _ = model_of(QUIET)
    del model.graph.meta[FIRST]
    SearchTransforms()(model)
    assert all(record.added_nodes for record in site_records(model) if record.kind == "Inserted")


@pytest.mark.parametrize(("dtype", "number"), [("float", 1), ("int64", 7)])
def test_outputs_that_cannot_be_compared_leave_nothing_out(dtype: str, number: int) -> None:
    """The number of elements that are not 0 depends on the rounding; and a wrong integer has no measurable cost."""
    model, _ = model_of(COUNTED.format(dtype, number))
    (linear,) = find_linears(model.graph)
    noise = SensitivityProbe.of(model, INT8).noise({"x": rounding_step(linear, ChannelTransform.identity(16), INT8)}, 2)
    assert np.isinf(noise).any() if dtype == "float" else noise.shape == (2, 0)
    SearchTransforms()(model)
    assert [record.added_nodes > 0 for record in site_records(model) if record.kind == "Inserted"] == [True]
