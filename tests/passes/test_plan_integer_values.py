"""Which values go as integers on a network with SiLUs, by the prices and the noise that are measured on it."""

import re
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

from requant.calib.activations import activation
from requant.ir.kernels import find_kernels
from requant.passes import PlanQuantizers, SelectLayers
from requant.passes.annotations import FLOAT, INTEGER, NOISE, is_direct, layer_records
from requant.passes.measure_rounding_noise import MeasureRoundingNoise
from requant.passes.plan_integer_values import PlanIntegerValues
from requant.runtime.distance import distance
from tests.passes.convnets import Arrays, feeds, lowered, measured, output, reasons, source
from tests.passes.optimized import fused_ops

SIDE = 40
BODY = (
    "c = Conv<pads = [1, 1, 1, 1]>(x, first) a = Sigmoid(c) s = Mul(c, a) "
    "d = Conv<pads = [1, 1, 1, 1]>(s, second) b = Sigmoid(d) t = Mul(d, b) "
    "e = Conv<pads = [1, 1, 1, 1]>(t, third) g = Sigmoid(e) r = Mul(e, g) f = Conv(r, last) y = GlobalAveragePool(f)"
)


def weights(width: int = 64, outlier: float = 1.0) -> Arrays:
    """Return weights that keep the size of the data; the first channel is ``outlier`` times as large between two."""
    rng = np.random.default_rng(0)
    shapes = {"first": (width, 3, 3, 3), "second": (width, width, 3, 3), "third": (width, width, 3, 3)}
    arrays = {
        name: (rng.normal(size=shape) * 1.6 / np.prod(shape[1:]) ** 0.5).astype(np.float32)
        for name, shape in {**shapes, "last": (width, width, 1, 1)}.items()
    }
    arrays["first"][0] *= outlier
    arrays["second"][:, 0] /= outlier
    return arrays


def planned(arrays: Arrays, target: str = "cpu", *, noise: bool = True, side: int = SIDE) -> ir.Model:
    model = measured(source(BODY, arrays, side), feeds(4, side))
    PlanQuantizers()(model)
    if noise:
        MeasureRoundingNoise(target)(model)
    PlanIntegerValues(target)(model)
    return model


def values(model: ir.Model) -> dict[str, ir.Value]:
    return {value.name or "": value for kernel in find_kernels(model.graph) for value in kernel.values}


@pytest.fixture(scope="module")
def wide() -> ir.Model:
    return planned(weights())


@pytest.fixture(scope="module")
def noisy() -> ir.Model:
    return planned(weights(outlier=300.0))


def test_a_wide_network_runs_on_integers_from_end_to_end(wide: ir.Model, tmp_path: Path) -> None:
    assert all(INTEGER.get(value) is not None for value in values(wide).values())
    artifact = lowered(wide)
    assert reasons(artifact) == []
    ops = fused_ops(artifact, tmp_path)
    kinds = ("QLinearConv", "QLinearSigmoid", "QLinearMul", "QLinearGlobalAveragePool")
    assert [ops[kind] for kind in kinds] == [4, 3, 3, 1]
    for feed in feeds(6, SIDE):
        assert distance(output(wide, feed), output(artifact, feed)).sqnr > 30


def test_each_computed_value_has_its_noise(wide: ir.Model) -> None:
    for value in values(wide).values():
        entry = activation(value)
        assert entry is not None
        assert (NOISE.get(value) is not None) == (entry.statistics is not None)


def test_the_first_layer_stays_in_float_where_it_is_noisy(noisy: ir.Model, tmp_path: Path) -> None:
    convs = {node.outputs[0].name: FLOAT.get(node) for node in noisy.graph if node.op_type == "Conv"}
    refusal = convs["c"]
    assert refusal is not None
    pattern = r"int8 there is estimated to cost the model \d+\.\d dB, and to make it faster by \d+\.\d%"
    assert re.fullmatch(pattern, refusal.reason)
    artifact = lowered(noisy)
    assert [(record.output, record.quantized) for record in layer_records(artifact)] == [
        ("c", False), ("d", True), ("e", True), ("f", True),
    ]  # fmt: skip
    assert fused_ops(artifact, tmp_path)["QLinearConv"] == 3


def test_without_measured_noise_time_alone_decides() -> None:
    model = planned(weights(outlier=300.0), noise=False)
    assert not any(NOISE.get(value) is not None for value in values(model).values())
    assert reasons(lowered(model)) == []


@pytest.mark.usefixtures("integers_are_free")
def test_values_whose_noise_is_not_known_are_not_weighed() -> None:
    model = measured(source(BODY, weights(width=8), SIDE), feeds(1, SIDE))
    PlanQuantizers()(model)
    NOISE.set(values(model)["x"], np.ones(1))
    PlanIntegerValues()(model)
    refusals = [FLOAT.get(node) for node in model.graph if node.op_type == "Conv"]
    reason = "int8 there was not weighed: its values are no faster as integers, or no measured sample reaches them"
    assert [refusal.reason for refusal in refusals if refusal is not None] == [reason] * 4


def test_a_narrow_network_is_faster_in_float() -> None:
    artifact = lowered(planned(weights(width=8)))
    assert len(reasons(artifact)) == 4
    pattern = r"int8 is estimated to .*(slower by \d+\.\d%|\d\.\d\d times as fast as float, less than \d\.\d+ times).*"
    assert all(re.fullmatch(pattern, reason) for reason in reasons(artifact)), reasons(artifact)


def test_a_layer_behind_an_integer_kernel_is_direct() -> None:
    model = measured(source(BODY, weights(), SIDE), feeds(4, SIDE))
    SelectLayers((), "cpu")(model)
    convs = [kernel.linear for kernel in find_kernels(model.graph) if kernel.linear is not None]
    assert [is_direct(conv) for conv in convs] == [False, True, True, True]


@pytest.mark.parametrize(("noisy", "selected"), [(True, [False] * 4), (False, [False, True, True, True])])
def test_layers_may_be_selected_by_time_alone(noisy: bool, selected: list[bool]) -> None:
    model = measured(source(BODY, weights(), SIDE), feeds(4, SIDE))
    for value in values(model).values():
        NOISE.set(value, np.full(1, 1e6))
    SelectLayers((), "cpu", noisy=noisy)(model)
    convs = [kernel.linear for kernel in find_kernels(model.graph) if kernel.linear is not None]
    assert [is_direct(conv) for conv in convs] == selected


def test_a_plan_made_again_replaces_the_one_before(noisy: ir.Model) -> None:
    model = noisy.clone()
    before = {name for name, value in values(model).items() if INTEGER.get(value) is not None}
    model.graph.inputs[0].meta[INTEGER.key] = INTEGER.get(values(model)["s"])
    PlanIntegerValues("cpu")(model)
    assert {name for name, value in values(model).items() if INTEGER.get(value) is not None} == before
    assert "x" not in before


def test_engines_without_integer_outputs_get_no_plan() -> None:
    model = planned(weights(), "tensorrt")
    assert not any(NOISE.get(value) is not None or INTEGER.get(value) is not None for value in values(model).values())
    convs = [node for node in lowered(model, "tensorrt").graph if node.op_type == "Conv"]
    assert {use.node.op_type for conv in convs for use in conv.outputs[0].uses()} == {
        "Sigmoid",
        "Mul",
        "GlobalAveragePool",
    }
