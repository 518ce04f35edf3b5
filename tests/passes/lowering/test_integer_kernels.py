"""Convs and what runs between them as integer kernels: ranges, sizes, shared values and biases."""

from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest

import requant
from requant.ir.load import load
from tests.passes.convnets import (
    BLOCK,
    STEM,
    WEIGHTS,
    feeds,
    last_step,
    lowered,
    output,
    planned,
    random,
    reasons,
    source,
)
from tests.passes.optimized import fused_ops, unintended

pytestmark = pytest.mark.usefixtures("integers_are_free")


def test_a_network_of_convs_runs_in_int8_from_end_to_end(tmp_path: Path) -> None:
    artifact = lowered(planned(BLOCK))
    assert reasons(artifact) == []
    ops = fused_ops(artifact, tmp_path)
    assert ops["QLinearConv"] == 5
    assert (ops["QLinearAdd"], ops["QLinearGlobalAveragePool"]) == (2, 1)
    assert not {"Conv", "Relu", "Clip", "MaxPool", "Add", "GlobalAveragePool"} & set(ops)


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
        assert np.abs(fused - unfused).max() < 1.01 * last_step(artifact)
        assert 0 < np.abs(unfused - exact).max() < 0.02 * np.abs(exact).max()


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
    assert 0 < grids["x"][1] < 255
    assert grids["r"] == grids["p"], "a pool has the quantizer of its input"


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


@pytest.mark.parametrize("target", ["cpu", "cpu-arm", "cpu-avx2"])
def test_integer_types_are_those_of_the_engine(target: str) -> None:
    artifact = lowered(planned(BLOCK, target), target)
    types = {node.outputs[0].dtype for node in artifact.graph if node.op_type == "QuantizeLinear"}
    assert types == {ir.DataType.INT8 if target == "cpu-arm" else ir.DataType.UINT8}


def test_one_call_quantizes_a_network_of_convs() -> None:
    result = requant.optimize(source(BLOCK), feeds(8))
    assert not result.report.message
    assert all(layer.quantized for layer in result.report.layers)
    (distance,) = result.report.outputs.values()
    assert distance.sqnr > 35
