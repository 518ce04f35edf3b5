"""What the outputs hear of a value's rounding, and which nodes are left out because they hear nothing."""

import numpy as np
import onnx_ir as ir
import pytest
from numpy.typing import NDArray

from requant.calib.collect import FIRST, collect
from requant.ir.canonical.form import canonicalize
from requant.ir.linear import find_linears
from requant.ir.rewrite.basis import Basis
from requant.passes import RebaseSites
from requant.passes.records import SiteRecord, site_records
from requant.passes.sensitivity import grid, listen
from requant.runtime.feeds import Feed
from requant.runtime.formats import INT8
from requant.runtime.session import runner

HEADER = '<ir_version: 8, opset_import: ["": 17]> g '
MATMUL = "(float[8, 16] x) => (float[8, 4] y) <float[16, 4] w> { y = MatMul(x, w) }"
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


def made(text: str, feeds: int = 2) -> tuple[ir.Model, list[Feed]]:
    """The model, calibrated on data of which one channel reaches far beyond the others and far from 0."""
    model, rng = ir.from_onnx_text(HEADER + text), np.random.default_rng(0)
    for value in {value for node in model.graph for value in node.inputs if value and value.name in {"w", "v", "part"}}:
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


@pytest.mark.parametrize("text", [MATMUL, CONV])
def test_the_noise_is_that_of_the_rounding_in_the_basis(text: str) -> None:
    model, feeds = made(text)
    (linear,) = find_linears(model.graph)
    basis = Basis(np.linspace(0.5, 2, 16), np.linspace(-1, 1, 16))
    heard, chosen = listen(model, INT8), grid(linear, basis, INT8)
    run, expected = runner(model), 0.0
    for feed in feeds:
        codes = np.clip(np.round((feed["x"].astype(np.float32) - chosen.shift) / chosen.step), -128, 127)
        rounded = (codes * chosen.step + chosen.shift).astype(np.float32)
        wanted, found = run(feed)[0].astype(np.float64), run({"x": rounded})[0].astype(np.float64)
        expected += np.square(found - wanted).sum() / np.square(wanted).sum() / len(feeds)
    assert expected > 0
    assert heard({"x": chosen}) == pytest.approx(expected, rel=1e-4)
    assert heard({}) == 0


def records(text: str) -> dict[str, SiteRecord]:
    model, _ = made(text)
    RebaseSites()(model)
    return {record.name: record for record in site_records(model) if record.kind == "Explicit"}


def test_nodes_that_the_outputs_hardly_notice_are_left_out() -> None:
    """The same values: first a whisper beside another branch, then half of a product."""
    quiet, aloud = records(QUIET), records(ALOUD)
    assert [quiet[name].added_nodes for name in "xz"] == [aloud["x"].added_nodes, 0]
    assert quiet["z"].reason == "the outputs of the model would hardly notice"
    assert quiet["z"].error_after == quiet["z"].error_before
    assert aloud["x"].added_nodes > 0
    assert aloud["z"].added_nodes > 0


def test_without_feeds_to_listen_to_every_node_that_pays_is_added() -> None:
    model, _ = made(QUIET)
    del model.meta[FIRST]
    RebaseSites()(model)
    assert all(record.added_nodes for record in site_records(model) if record.kind == "Explicit")


@pytest.mark.parametrize(("dtype", "number"), [("float", 1), ("int64", 7)])
def test_outputs_that_cannot_be_compared_leave_nothing_out(dtype: str, number: int) -> None:
    """How many elements are not 0 depends on the rounding; and nobody knows what a wrong integer is worth."""
    model, _ = made(COUNTED.format(dtype, number))
    (linear,) = find_linears(model.graph)
    noise = listen(model, INT8)({"x": grid(linear, Basis.identity(16), INT8)})
    assert noise == (np.inf if dtype == "float" else 0)
    RebaseSites()(model)
    assert [record.added_nodes > 0 for record in site_records(model) if record.kind == "Explicit"] == [True]
