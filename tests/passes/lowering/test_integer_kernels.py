"""Integer Convs: those that are one kernel on ONNX Runtime's CPU, and those that stay in float there."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from numpy.typing import NDArray

import requant
from models.random_graphs.network import random_network
from requant.calib.collect import collect, statistics
from requant.ir.canonical.canonicalize import canonicalize
from requant.ir.formats import FP8, Format
from requant.ir.linear import find_linears
from requant.ir.load import load
from requant.ir.quantizer import QUANTIZER
from requant.passes import InsertQDQ, PlanQuantizers, SearchTransforms, SelectLayers
from requant.passes.annotations import is_direct, layer_records, site_records
from requant.passes.scales import activation_quantizer, weight_quantizer
from requant.runtime.distance import distance
from requant.runtime.session import runner
from tests.passes.optimized import fused_ops, unintended

FP8_REASON = "cpu has no float8e4m3fn products"

Arrays = Mapping[str, NDArray[np.generic]]

STEM = "c = Conv(x, u, b) r = Relu(c) p = MaxPool<kernel_shape = [2, 2]>(r)"
BLOCK = (
    f"{STEM} d = Conv(p, w, b) e = Relu(d) f = Conv<pads = [1, 1, 1, 1]>(e, v) s = Add(f, p) t = Relu(s) "
    "g = Conv(t, w, b) m = Clip(g, zero, six) k = Conv(m, w) l = Add(t, k) y = GlobalAveragePool(l)"
)
WEIGHTS = {"u": (32, 3, 3, 3), "w": (32, 32, 1, 1), "q": (32, 32, 1, 1), "v": (32, 32, 3, 3), "b": (32,)}


@pytest.fixture(autouse=True)
def _whatever_it_gains(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let networks as small as these be in int8; what pays is for `test_conv_gain`."""
    monkeypatch.setattr("requant.passes.regions.choose.LEAST_GAIN", 0.0)


def random(shape: tuple[int, ...]) -> NDArray[np.float32]:
    return (0.1 * np.random.default_rng(len(shape) + shape[-1]).normal(size=shape)).astype(np.float32)


def source(body: str, weights: Arrays | None = None) -> onnx.ModelProto:
    header = '<ir_version: 8, opset_import: ["": 17]>'
    arrays: dict[str, NDArray[np.generic]] = {name: random(shape) for name, shape in WEIGHTS.items()}
    arrays |= {"zero": np.zeros((), np.float32), "six": np.full((), 6, np.float32), **(weights or {})}
    proto = onnx.parser.parse_model(f"{header} g (float[1, 3, 14, 14] x) => (float[n, k, h, w] y) {{ {body} }}")
    read = {name for node in proto.graph.node for name in node.input}
    proto.graph.initializer.extend(
        onnx.numpy_helper.from_array(array, name) for name, array in arrays.items() if name in read
    )
    return proto


def feeds(count: int = 4) -> list[Arrays]:
    rng = np.random.default_rng(1)
    return [{"x": rng.normal(size=(1, 3, 14, 14)).astype(np.float32)} for _ in range(count)]


def network_feeds(seed: int) -> list[Arrays]:
    rng = np.random.default_rng(seed)
    return [{"x": rng.normal(size=(2, 3, 12, 12)).astype(np.float32)} for _ in range(4)]


def planned(body: str, target: str = "cpu", weights: Arrays | None = None, keep: tuple[str, ...] = ()) -> ir.Model:
    model = load(source(body, weights))
    canonicalize(model)
    collect(model, feeds())
    SelectLayers(keep, target)(model)
    PlanQuantizers()(model)
    return model


def lowered(model: ir.Model, target: str = "cpu") -> ir.Model:
    copy = model.clone()
    InsertQDQ(target)(copy)
    assert unintended(copy, target) == []
    return copy


def output(model: ir.Model, feed: Arrays, *, optimized: bool = False) -> NDArray[np.float64]:
    return runner(model, optimized=optimized)(feed)[0].astype(np.float64)


def reasons(model: ir.Model) -> list[str]:
    return [record.reason for record in layer_records(model) if record.reason]


def test_a_network_of_convs_runs_in_int8_from_end_to_end(tmp_path: Path) -> None:
    artifact = lowered(planned(BLOCK))
    assert reasons(artifact) == []
    ops = fused_ops(artifact, tmp_path)
    assert ops["QLinearConv"] == 5
    assert ops["QLinearAdd"] == 1  # the last sum is averaged in float
    assert not {"Conv", "Relu", "Clip", "MaxPool"} & set(ops)


def test_who_asks_for_a_size_does_not_keep_a_kernel_from_its_relu(tmp_path: Path) -> None:
    body = f'{STEM} n = Shape(c) o = Shape(r) d = Conv(p, w) e = Resize<mode = "nearest">(d, , , n) f = Conv(e, q) '
    model = source(body + "g = GlobalAveragePool(f) h = Slice(o, begin, end) y = Expand(g, h)")
    model.graph.input[0].type.tensor_type.shape.dim[2].dim_param = "rows"
    model.graph.initializer.extend(
        onnx.numpy_helper.from_array(np.array([k]), n) for k, n in ((0, "begin"), (1, "end"))
    )
    artifact = requant.optimize(model, feeds()).model
    ops = fused_ops(artifact, tmp_path)
    assert ops["QLinearConv"] == 3
    assert not {"Conv", "Relu"} & set(ops)


def test_the_engine_computes_what_the_graph_says() -> None:
    """Its kernels round where the float graph rounds, but for ties that float sums decide differently."""
    artifact = lowered(planned(BLOCK))
    for feed in feeds():
        fused, unfused = (output(artifact, feed, optimized=optimized) for optimized in (True, False))
        exact = output(load(source(BLOCK)), feed)
        largest = np.abs(exact).max()
        assert np.abs(fused - unfused).max() < 0.003 * largest
        assert 0 < np.abs(unfused - exact).max() < 0.02 * largest


def test_relu_and_clip_are_the_lowest_and_the_highest_integer() -> None:
    artifact = lowered(planned(BLOCK))
    grids = {
        node.inputs[0].name: tuple(value.const_value.numpy().item() for value in node.inputs[1:])  # type: ignore[union-attr] # both are constants
        for node in artifact.graph
        if node.op_type == "QuantizeLinear" and node.inputs[0] is not None
    }
    for name in ("r", "e", "m", "t"):
        assert grids[name][1] == 0, name
    assert grids["m"][0] * 255 <= 6
    assert grids["x"][1] == grids["f"][1] == 128
    assert grids["r"] == grids["p"], "a pool has the quantizer of its input"


def test_other_engines_do_not_round_the_output() -> None:
    artifact = lowered(planned(BLOCK, "tensorrt"), "tensorrt")
    convs = [node for node in artifact.graph if node.op_type == "Conv"]
    consumers = [use.node.op_type for node in convs for use in node.outputs[0].uses()]
    assert len(convs) == 5
    assert "QuantizeLinear" not in consumers


@pytest.mark.parametrize("other", ["e = Relu(d) f = Conv(p, q)", "e = Clip(d, zero, low) h = Conv(p, q) f = Relu(h)"])
def test_an_int8_range_beyond_the_activation_needs_it(other: str) -> None:
    body = f"{STEM} d = Conv(p, w) {other} t = Concat<axis = 1>(e, f) g = Conv(t, k) y = GlobalAveragePool(g)"
    low = np.array(1e-3, np.float32)
    artifact = lowered(planned(body, weights={"k": random((32, 64, 1, 1)), "low": low}))
    assert reasons(artifact) == ["the int8 range of 't' exceeds the bounds of the activation behind the Conv"]


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
        model = load(source(body, weights))
        canonicalize(model)
        collect(model, feeds())
        SelectLayers((), target)(model)
        SearchTransforms()(model)
        models[target] = model
    by_target = {
        target: next(record for record in site_records(model) if record.name == "r") for target, model in models.items()
    }
    assert by_target["tensorrt"].added_nodes > 0
    assert by_target["cpu"].added_nodes == 0
    assert "reads the integers that the layer before it writes" in by_target["cpu"].reason


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


def test_one_value_has_one_quantizer_whoever_reads_it(tmp_path: Path) -> None:
    body = (
        "c = Conv<pads = [2, 2, 2, 2]>(x, u, b) r = Relu(c) d = Conv(r, w) s = Relu(d) m = MatMul(s, z) e = Conv(s, q) "
    )
    model = source(body + "t = Concat<axis = 1>(m, e) y = GlobalAveragePool(t)", {"z": random((16, 16))})
    result = requant.optimize(model, feeds(), recipe="int8-plain")
    assert unintended(result.model, "cpu") == []
    names = [node.name for node in result.model.graph]
    assert len(names) == len(set(names))
    count = sum(layer.quantized and layer.op_type == "Conv" for layer in result.report.layers)
    assert fused_ops(result.model, tmp_path)["QLinearConv"] == count == 3


def test_who_asks_for_a_size_may_stand_before_the_relu() -> None:
    body = 'c = Conv(x, u, b) n = Shape(c) r = Relu(c) d = Conv(r, w) e = Resize<mode = "nearest">(d, , , n) '
    model = source(body + "y = GlobalAveragePool(e)")
    model.graph.input[0].type.tensor_type.shape.dim[2].dim_param = "rows"
    result = requant.optimize(model, feeds())
    assert all(layer.quantized for layer in result.report.layers)
    assert output(result.model, feeds()[0]).shape == (1, 32, 1, 1)


def test_a_shared_weight_has_room_for_every_bias() -> None:
    weight = 10 * random(WEIGHTS["w"])
    weight[3] *= 1e-9
    biases = {"b": np.zeros(32, np.float32), "k": np.full(32, 7, np.float32), "w": weight}
    body = f"{STEM} d = Conv(p, w, b) e = Relu(d) f = Conv(e, w, k) t = Relu(f) y = GlobalAveragePool(t)"
    artifact = lowered(planned(body, weights=biases))
    fused, unfused = (output(artifact, feeds()[0], optimized=optimized) for optimized in (True, False))
    assert np.abs(fused - unfused).max() < 0.003 * np.abs(unfused).max()


def test_statistics_of_a_sum_are_carried_through_a_transform() -> None:
    """Its operands take part in the transform of the sum, which the next layer reads."""
    body = "c = Conv(x, u, b) r = Relu(c) d = Conv(r, w) s = Add(d, r) t = Relu(s) e = Conv(t, q) y = Relu(e)"
    scale = np.geomspace(0.01, 1, 32, dtype=np.float32).reshape(-1, 1, 1, 1)
    weights = {"u": scale * random(WEIGHTS["u"]), "w": scale * random(WEIGHTS["w"])}
    model = load(source(body, weights))
    canonicalize(model)
    collect(model, feeds())
    SelectLayers((), "cpu")(model)
    assert SearchTransforms()(model).modified
    again = model.clone()
    for value in (value for node in again.graph for value in node.outputs):
        value.meta.clear()
    collect(again, feeds())
    measured = {value.name: statistics(value) for node in again.graph for value in node.outputs}
    carried_over = {value.name: statistics(value) for node in model.graph for value in node.outputs}
    compared = [name for name in measured if measured[name] is not None]
    assert len(compared) == 3  # what two Convs read, and the first operand of the sum
    for name in compared:
        expected, carried = measured[name], carried_over[name]
        assert expected is not None
        assert carried is not None, name
        np.testing.assert_allclose(carried.minimum, expected.minimum, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(carried.maximum, expected.maximum, rtol=1e-4, atol=1e-5)


def test_a_bias_that_int32_cannot_count_gets_a_coarser_scale() -> None:
    """ONNX Runtime quantizes the bias by the scale of the product and saturates: a channel without weight, for one."""
    weight = 10 * random(WEIGHTS["w"])
    weight[3] *= 1e-9
    bias = np.full(32, 7, np.float32)
    body = f"{STEM} d = Conv(p, w, b) e = Relu(d) f = Conv(e, q) y = GlobalAveragePool(f)"
    model = planned(body, weights={"w": weight, "b": bias})
    artifact = lowered(model)
    for feed in feeds(2):
        fused, unfused = (output(artifact, feed, optimized=optimized) for optimized in (True, False))
        assert np.abs(fused - unfused).max() < 0.003 * np.abs(unfused).max()


def test_no_kernel_writes_fewer_than_8_bits() -> None:
    model = load(source(BLOCK))
    canonicalize(model)
    collect(model, feeds())
    PlanQuantizers((Format(bits=6),))(model)
    by_target = set(reasons(lowered(model)))
    assert "an integer Conv writes 8 bits, but its output is planned with 6" in by_target
    assert len(reasons(lowered(model))) == 5


@pytest.mark.parametrize("seed", range(8))
def test_a_plan_for_another_engine_serves_as_well(seed: int, tmp_path: Path) -> None:
    """A layer with nodes behind it that the other engine needs writes int8 of its own or stays in float."""
    result = requant.optimize(random_network(seed), network_feeds(seed), target="tensorrt")
    artifact = result.lower("cpu")
    count = sum(record.quantized and record.op_type == "Conv" for record in layer_records(artifact))
    assert unintended(artifact, "cpu") == []
    assert fused_ops(artifact, tmp_path)["QLinearConv"] == count


@pytest.mark.parametrize("target", ["cpu", "cpu-arm", "cpu-avx2"])
def test_integer_types_are_those_of_the_engine(target: str) -> None:
    artifact = lowered(planned(BLOCK, target), target)
    types = {node.outputs[0].dtype for node in artifact.graph if node.op_type == "QuantizeLinear"}
    assert types == {ir.DataType.INT8 if target == "cpu-arm" else ir.DataType.UINT8}


def test_a_layer_in_float_between_int8_keeps_its_weight(tmp_path: Path) -> None:
    """ONNX Runtime quantizes it otherwise."""
    artifact = lowered(planned(BLOCK, keep=("d",)))
    assert reasons(artifact) == ["kept by request"]
    ops = fused_ops(artifact, tmp_path)
    assert ops["QLinearConv"] == 4
    assert ops["Conv"] + ops["FusedConv"] == 1


@pytest.mark.parametrize("start", range(0, 30, 10))
def test_random_networks_run_as_they_are_recorded(start: int, tmp_path: Path) -> None:
    _check_all(range(start, start + 10), tmp_path)


@pytest.mark.property
@pytest.mark.parametrize("start", range(30, 1030, 50))
def test_many_random_networks_run_as_they_are_recorded(start: int, tmp_path: Path) -> None:
    _check_all(range(start, start + 50), tmp_path)


def _check_all(seeds: range, folder: Path) -> None:
    """Check networks, and that most of them have integer kernels."""
    assert sum(_check(seed, folder) > 0 for seed in seeds) > len(seeds) / 2


def _check(seed: int, folder: Path) -> int:
    """As many integer kernels as the report says, and about as close to the float model as the graph run as written."""
    proto, data, rng = random_network(seed), network_feeds(seed), np.random.default_rng(seed)
    canonicalize(model := load(proto))
    convs = [linear.name for linear in find_linears(model.graph) if linear.node.op_type == "Conv"]
    result = requant.optimize(proto, data, keep=[str(rng.choice(convs))] if seed % 3 == 0 else [])
    count = sum(layer.quantized and layer.op_type == "Conv" for layer in result.report.layers)
    assert unintended(result.model, "cpu") == []
    assert fused_ops(result.model, folder)["QLinearConv"] == count
    if count:
        exact = output(load(proto), data[0])
        fused, unfused = (output(result.model, data[0], optimized=optimized) for optimized in (True, False))
        assert distance(exact, fused).sqnr > max(20, distance(exact, unfused).sqnr - 6)
    return count


def test_one_call_quantizes_a_network_of_convs() -> None:
    result = requant.optimize(source(BLOCK), feeds(8))
    assert not result.report.message
    assert all(layer.quantized for layer in result.report.layers)
    (distance,) = result.report.outputs.values()
    assert distance.sqnr > 35


def test_a_conv_writes_no_other_format() -> None:
    """A plan may have fp8 for what the next layer reads, which the CPU then leaves in float."""
    model = planned("c = Conv(x, u, b) r = Relu(c) y = Conv(r, w)")
    _, second = find_linears(model.graph)
    second.data.meta[QUANTIZER] = activation_quantizer((0.0, 3.0), FP8)
    second.weight.meta[QUANTIZER] = weight_quantizer(second, FP8)
    InsertQDQ("cpu")(model)
    reasons = [layer.reason for layer in layer_records(model)]
    assert reasons == ["an integer Conv does not write float8e4m3fn, in which 'r' is planned", FP8_REASON]
