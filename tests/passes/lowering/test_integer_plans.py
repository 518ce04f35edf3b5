"""Which layers run as integer kernels by a plan, and which stay in float with their reason."""

from pathlib import Path

import numpy as np
import pytest

import requant
from requant.calib.collect import collect, statistics
from requant.ir.formats import FP8, Format
from requant.ir.linear import find_linears
from requant.ir.quantizer import QUANTIZER
from requant.passes import PlanQuantizers, SearchTransforms, SelectLayers
from requant.passes.annotations import is_direct, layer_records, site_records
from requant.passes.plan_integer_values import PlanIntegerValues
from requant.passes.scales import activation_quantizer, weight_quantizer
from tests.passes.convnets import (
    BLOCK,
    STEM,
    WEIGHTS,
    feeds,
    lowered,
    measured,
    planned,
    random,
    reasons,
    source,
)
from tests.passes.optimized import fused_ops

pytestmark = pytest.mark.usefixtures("integers_are_free")

FP8_REASON = "cpu has no float8e4m3fn products"
NO_RANGE = "an integer Conv writes int8, and no range of its output suits all that reads it"


def test_other_engines_do_not_round_the_output() -> None:
    artifact = lowered(planned(BLOCK, "tensorrt"), "tensorrt")
    convs = [node for node in artifact.graph if node.op_type == "Conv"]
    consumers = [use.node.op_type for node in convs for use in node.outputs[0].uses()]
    assert len(convs) == 5
    assert "QuantizeLinear" not in consumers


@pytest.mark.parametrize("other", ["e = Relu(d) f = Conv(p, q)", "e = Clip(d, zero, low) h = Conv(p, q) f = Relu(h)"])
def test_an_integer_range_beyond_the_activation_needs_it(other: str) -> None:
    body = f"{STEM} d = Conv(p, w) {other} t = Concat<axis = 1>(e, f) g = Conv(t, k) y = GlobalAveragePool(g)"
    low = np.array(1e-3, np.float32)
    artifact = lowered(planned(body, weights={"k": random((32, 64, 1, 1)), "low": low}))
    assert reasons(artifact) == [NO_RANGE]


def test_the_input_of_a_layer_in_float_is_int8_all_the_same(tmp_path: Path) -> None:
    """A layer kept in float does not pull the one before it into float, and so on to the first."""
    artifact = lowered(planned(BLOCK, keep=("k",)))
    assert reasons(artifact) == ["kept by request"]
    assert fused_ops(artifact, tmp_path)["QLinearConv"] == 4


def test_no_node_comes_between_two_layers_in_int8() -> None:
    """A transform of its own would be worth its nodes here, on an engine whose kernels write floats."""
    scale = np.ones((32, 1, 1, 1), np.float32)
    scale[:4] = 30
    body = "c = Conv(x, u, b) r = Clip(c, zero, six) d = Conv(r, w) y = GlobalAveragePool(d)"
    weights = {"u": (scale * random(WEIGHTS["u"]) / 10).astype(np.float32)}
    models = {}
    for target in ("tensorrt", "cpu"):
        model = measured(source(body, weights))
        SelectLayers((), target)(model)
        SearchTransforms()(model)
        models[target] = model
    by_target = {
        target: next(record for record in site_records(model) if record.name == "r") for target, model in models.items()
    }
    assert by_target["tensorrt"].added_nodes > 0
    assert by_target["cpu"].added_nodes == 0
    assert "reads the integers that the layer before it writes" in by_target["cpu"].reason


@pytest.mark.slow
def test_nor_before_the_last_layer_which_is_none_of_them(tmp_path: Path) -> None:
    """The kernel before it would have to write floats for a transform, and so all kernels before that."""
    body = f"{STEM} d = Conv(p, w) e = Relu(d) f = Flatten(e) m = MatMul(f, z) y = Unsqueeze(m, ends)"
    weights = {"z": random((32 * 121, 16)), "ends": np.array([2, 3])}
    direct = [linear.name for linear in find_linears(planned(body, weights=weights).graph) if is_direct(linear)]
    assert direct == ["d", "m"]
    result = requant.optimize(source(body, weights), feeds())
    assert all(layer.quantized for layer in result.report.layers)
    ops = fused_ops(result.model, tmp_path)
    assert ops["QLinearConv"] == 2
    assert ops["QuantizeLinear"] == 1  # of the input: the second Conv and the MatMul read the same integers


def test_statistics_of_a_sum_are_carried_through_a_transform() -> None:
    """Its operands take part in the transform of the sum, which the next layer reads."""
    body = "c = Conv(x, u, b) r = Relu(c) d = Conv(r, w) s = Add(d, r) t = Relu(s) e = Conv(t, q) y = Relu(e)"
    scale = np.geomspace(0.01, 1, 32, dtype=np.float32).reshape(-1, 1, 1, 1)
    weights = {"u": scale * random(WEIGHTS["u"]), "w": scale * random(WEIGHTS["w"])}
    model = measured(source(body, weights))
    SelectLayers((), "cpu")(model)
    assert SearchTransforms()(model).modified
    again = model.clone()
    for value in (value for node in again.graph for value in node.outputs):
        value.meta.clear()
    collect(again, feeds())
    collected = {value.name: statistics(value) for node in again.graph for value in node.outputs}
    carried_over = {value.name: statistics(value) for node in model.graph for value in node.outputs}
    compared = [name for name in collected if collected[name] is not None]
    assert len(compared) == 2  # what two Convs read
    for name in compared:
        expected, carried = collected[name], carried_over[name]
        assert expected is not None
        assert carried is not None, name
        np.testing.assert_allclose(carried.minimum, expected.minimum, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(carried.maximum, expected.maximum, rtol=1e-4, atol=1e-5)


def test_no_kernel_writes_fewer_than_8_bits() -> None:
    model = measured(source(BLOCK))
    PlanQuantizers((Format(bits=6),))(model)
    PlanIntegerValues("cpu")(model)
    assert reasons(lowered(model)) == ["an integer Conv writes 8 bits, but it is planned with 6"] * 5


def test_a_layer_in_float_between_int8_keeps_its_weight(tmp_path: Path) -> None:
    """ONNX Runtime quantizes it otherwise."""
    artifact = lowered(planned(BLOCK, keep=("d",)))
    assert reasons(artifact) == ["kept by request"]
    ops = fused_ops(artifact, tmp_path)
    assert ops["QLinearConv"] == 4
    assert ops["Conv"] + ops["FusedConv"] == 1


@pytest.mark.parametrize("ahead", [True, False], ids=["planned", "on the fly"])
def test_a_conv_in_another_format_is_a_float_consumer(ahead: bool) -> None:
    """A plan may have fp8 for what the next layer reads, which the CPU leaves in float."""
    model = planned("c = Conv(x, u, b) r = Relu(c) y = Conv(r, w)")
    _, second = find_linears(model.graph)
    second.data.meta[QUANTIZER] = activation_quantizer((0.0, 3.0), FP8)
    second.weight.meta[QUANTIZER] = weight_quantizer(second, FP8)
    if ahead:
        PlanIntegerValues("cpu")(model)
    artifact = lowered(model)
    assert [layer.reason for layer in layer_records(artifact)] == ["", FP8_REASON]
    assert artifact.graph[-1].inputs[1] is artifact.graph.initializers["w"]
