"""Channels scaled through a HardSwish: exact in float, whole steps of uint8, and gone where nothing is rounded."""

from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from numpy.typing import NDArray

import requant
from requant.calib.activations import activation, measure_activations
from requant.ir.channels.find import Site, find_sites
from requant.ir.kernels import find_kernels
from requant.ir.scaled_hard_swish import as_scaled_hard_swish
from requant.passes import PlanIntegerValues, PlanQuantizers, SearchTransforms, SelectLayers, SplitHardSwish
from requant.passes.annotations import site_records
from requant.passes.cost_model.gates import gates, with_gates
from requant.passes.cost_model.part import part_of
from requant.passes.integer_regions import planned_time
from requant.passes.regions.prices import price, size
from requant.passes.split_hard_swish import join_hard_swishes
from requant.runtime.price_tables import VNNI
from requant.runtime.targets import target
from requant.runtime.verify import verify
from requant.stages.job import Job
from tests.passes.convnets import feeds, lowered, measured, random, reasons, source
from tests.passes.optimized import fused_ops, listing

pytestmark = pytest.mark.usefixtures("integers_are_free")

UNEVEN = np.geomspace(0.05, 2, 32, dtype=np.float32)
"""What the channels before a HardSwish are multiplied by."""

WEIGHTS = {
    "w": 8 * random((32, 32, 1, 1)) * UNEVEN.reshape(-1, 1, 1, 1),
    "q": random((32, 32, 1, 1)) / UNEVEN.reshape(-1, 1, 1),
    "k": 8 * random((32, 32, 3, 3)) * UNEVEN.reshape(-1, 1, 1, 1),
    "z": random((32, 64, 1, 1)),
}
STEM = "c = Conv(x, u, b) r = Relu(c) d = Conv(r, w)"
BODY = f"{STEM} h = HardSwish(d) y = Conv(h, q)"
BODIES = {
    "Conv": BODY,
    "taps": "c = Conv(x, u, b) r = Relu(c) d = Conv(r, k) h = HardSwish(d) y = Conv(h, q)",
    "depthwise": f"{STEM} h = HardSwish(d) e = Conv<group = 32>(h, v) f = HardSwish(e) y = Conv(f, q)",
    "pool": f"{STEM} h = HardSwish(d) p = MaxPool<kernel_shape = [2, 2]>(h) y = Conv(p, q)",
    "residual": f"{STEM} h = HardSwish(d) s = Add(h, r) y = Conv(s, q)",
    "two": f"{STEM} h = HardSwish(d) e = Conv(r, q) f = HardSwish(e) t = Concat<axis = 1>(h, f) y = Conv(t, z)",
    "gate": (
        f"{STEM} h = HardSwish(d) a = GlobalAveragePool(h) e = Conv(a, q) s = Sigmoid(e) m = Mul(h, s) y = Conv(m, q)"
    ),
}


def network(body: str) -> onnx.ModelProto:
    return source(body, {**WEIGHTS, "v": random((32, 1, 3, 3))})


def selected(body: str) -> ir.Model:
    """Return the network of ``body`` with its statistics, and layers that read integers."""
    model = measured(network(body))
    SelectLayers((), "cpu")(model)
    return model


def transformed(body: str) -> ir.Model:
    """Return the network of ``body`` after the search for transforms."""
    model = selected(body)
    SplitHardSwish()(model)
    SearchTransforms()(model)
    measure_activations(model, feeds())
    return model


def scaled(model: ir.Model) -> list[NDArray[np.float64]]:
    """Return the scales of each HardSwish of scaled data."""
    return [view.scales.ravel() for node in model.graph if (view := as_scaled_hard_swish(node)) is not None]


def test_what_is_split_is_joined_again() -> None:
    model = selected(BODY)
    before, statistics = listing(model), model.graph.node("h").outputs[0].meta
    assert SplitHardSwish()(model).modified
    assert [line for line in listing(model) if "d" in line.split("(")[1]] == [
        "h.gate = HardSigmoid(d)", "h = Mul(d, h.gate)"
    ]  # fmt: skip
    join_hard_swishes(model.graph)
    assert listing(model) == before
    assert model.graph.node("h").outputs[0].meta is statistics


@pytest.mark.parametrize(
    "body",
    [
        "d = Conv(x, u, b) h = HardSwish(d) y = Conv(h, q)",
        f"{STEM} h = HardSwish(d) e = Conv(h, q) y = Add(e, d)",
        f"{STEM} a = Add(d, r) h = HardSwish(a) y = Conv(h, q)",
        f"{STEM} h = HardSigmoid(d) y = Conv(h, q)",
    ],
    ids=["float data", "two readers", "no Conv", "another op"],
)
def test_a_hard_swish_elsewhere_is_left_alone(body: str) -> None:
    model = selected(body)
    assert not SplitHardSwish()(model).modified


def test_a_number_between_integers_is_not_scaled_to_a_vector() -> None:
    body = f"{STEM} h = HardSwish(d) a = Add(h, six) y = Conv<pads = [1, 1, 1, 1]>(a, k)"
    model = transformed(body)
    assert not scaled(model)
    PlanQuantizers()(model)
    assert reasons(lowered(model)) == []


@pytest.mark.parametrize("name", BODIES)
def test_the_transform_is_exact_and_its_scales_are_whole_steps(name: str) -> None:
    model = selected(BODIES[name])
    before = model.clone()
    SplitHardSwish()(model)
    assert SearchTransforms()(model).modified
    assert verify(before, model, feeds(), rewrite="it") < 1e-5
    assert any(not record.reason and record.restored for record in site_records(model))
    assert len(scaled(model)) == sum(node.op_type == "HardSigmoid" for node in model.graph) > 0
    for scales in scaled(model):
        steps = scales / scales.max() * 255
        np.testing.assert_allclose(steps, np.round(steps), atol=1e-3)


def test_the_inverse_scale_of_the_other_side_of_a_product_passes_a_gate_too() -> None:
    body = (
        f"{STEM} h = HardSwish(d) e = Conv(r, q) k = Reshape(h, flat) l = Reshape(e, flat) "
        "t = Transpose<perm = [0, 2, 1]>(k) m = MatMul(t, l) y = Reshape(m, four)"
    )
    shapes = {"flat": np.array([1, 32, 144]), "four": np.array([1, 1, 144, 144])}
    model = measured(source(body, {**WEIGHTS, **shapes}))
    SelectLayers((), "cpu")(model)
    before = model.clone()
    assert SplitHardSwish()(model).modified
    assert any(isinstance(place, Site) and place.kind == "QK" and gates(place) for place in find_sites(model))
    SearchTransforms()(model)
    assert verify(before, model, feeds(), rewrite="it") < 1e-5


def test_a_site_has_the_range_of_what_is_rounded_before_the_gate_too() -> None:
    model = selected(BODY)
    SplitHardSwish()(model)
    site = next(place for place in find_sites(model) if isinstance(place, Site) and gates(place))
    part = part_of([consumer.linear for consumer in site.consumers])
    assert part is not None
    (wide,), data = with_gates([part], site), activation(site.values[0])
    assert data is not None
    assert data.statistics is not None
    stats, x = part.statistics, data.statistics
    np.testing.assert_array_equal(wide.statistics.minimum, np.minimum(stats.minimum, np.maximum(x.minimum, -3) / 2))
    np.testing.assert_array_equal(wide.statistics.maximum, np.maximum(stats.maximum, x.maximum))
    assert (wide.statistics.minimum < stats.minimum).any()


@pytest.mark.parametrize("name", ["Conv", "pool", "two"])
def test_on_integers_the_scales_cost_no_kernel(name: str, tmp_path: Path) -> None:
    ops = []
    for model in (selected(BODIES[name]), transformed(BODIES[name])):
        PlanQuantizers()(model)
        ops.append(fused_ops(lowered(model), tmp_path))
    count = BODIES[name].count("HardSwish")
    assert ops[1] == ops[0] - Counter(QLinearAdd=count) + Counter(QLinearMul=count)


def test_its_price_on_integers_has_a_product_in_place_of_a_sum() -> None:
    kernels = [kernel for model in (selected(BODY), transformed(BODY)) for kernel in find_kernels(model.graph)]
    sum_, product = (price(kernel, VNNI) for kernel in kernels if kernel.kind == "HardSwish")
    elements = size(next(kernel.outputs[0] for kernel in kernels if kernel.kind == "HardSwish"))
    assert product.in_float == sum_.in_float
    rates = [VNNI.kernels[op].in_integers.element for op in ("Mul", "Add")]
    assert product.in_integers - sum_.in_integers == pytest.approx(elements * (rates[0] - rates[1]))


@pytest.mark.parametrize(("slower", "needed"), [(0.9, 0.0), (1.05, 100 * np.log(1.05) / 3), (1.07, None)])
def test_a_slower_plan_has_to_gain_decibels(
    slower: float, needed: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = list[float]()

    def judged(job: Job, model: ir.Model, least: float = 0.0) -> str:
        asked.append(least)
        return ""

    monkeypatch.setattr("requant.stages.plan._slower", lambda job, model: slower)
    monkeypatch.setattr("requant.stages.plan.improvement", judged)
    requant.optimize(network(BODY), feeds(24))
    assert asked == [pytest.approx(least) for least in (needed, 0.0) if least is not None]


def test_the_time_of_a_plan_is_that_of_its_regions() -> None:
    model, engine = selected(BODY), target("cpu")
    PlanQuantizers()(model)
    in_float = planned_time(model.graph, engine)
    PlanIntegerValues("cpu")(model)
    assert 0 < planned_time(model.graph, engine) < in_float


def test_the_plan_is_taken_where_it_is_better(monkeypatch: pytest.MonkeyPatch) -> None:
    data, fresh = feeds(24), feeds(40)[24:]
    result = requant.optimize(network(BODY), data)
    assert any(note.startswith("channels scaled through HardSwish: ") for note in result.report.notes)
    monkeypatch.setattr("requant.stages.plan._through_activations", lambda job: None)
    other = requant.optimize(network(BODY), data)
    ours, plain = (requant.compare(network(BODY), one.model, fresh).outputs["y"].sqnr for one in (result, other))
    assert ours > plain + 1
