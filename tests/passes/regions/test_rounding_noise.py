"""The noise of rounding one value: the error that a Q/DQ there makes in the outputs; and that of rounding a weight."""

from dataclasses import replace

import numpy as np
import onnx_ir as ir
import pytest
from numpy.typing import NDArray

from requant.calib.collect import statistics
from requant.ir.constants import constant
from requant.ir.kernels import find_kernels
from requant.ir.linear import find_linears
from requant.ir.quantizer import QUANTIZER, Quantizer, quantizer
from requant.passes import Gptq, PlanQuantizers
from requant.passes.regions.grids import grids
from requant.passes.regions.rounding_noise import measure_noise, pieces
from requant.passes.regions.weight_noise import weight_noise
from requant.runtime.feeds import Feed
from requant.runtime.session import runner
from tests.passes.convnets import Arrays, feeds, measured, random, source

BODIES = {
    "SiLU": "c = Conv(x, u, b) g = Sigmoid(c) s = Mul(c, g) d = Conv(s, w) y = Relu(d)",
    "residual": "c = Conv(x, u, b) r = Relu(c) d = Conv(r, w) s = Add(d, r) e = Conv(s, q) y = HardSwish(e)",
    "moved": "c = Conv(x, u, b) p = MaxPool<kernel_shape = [2, 2]>(c) d = Conv(p, w) t = Concat<axis = 1>(p, d) "
    "y = Conv(t, z)",
}
WEIGHTS = {"z": random((32, 64, 1, 1))}


def with_rounding(model: ir.Model, name: str, plan: Quantizer) -> ir.Model:
    """Return a copy in which all that reads a value, the outputs too, reads it behind Q and DQ."""
    copy = model.clone()
    value = next(v for node in copy.graph for v in (*node.inputs, *node.outputs) if v is not None and v.name == name)
    assert plan.zero_point is not None
    parameters = (
        constant(copy.graph, plan.scale, "test.scale"),
        constant(copy.graph, plan.zero_point.astype(plan.dtype.numpy()), "test.zero"),
    )
    quantize = ir.node("QuantizeLinear", [value, *parameters])
    dequantize = ir.node("DequantizeLinear", [quantize.outputs[0], *parameters])
    uses = list(value.uses())
    producer = value.producer()
    nodes = [quantize, dequantize]
    if producer is None:
        copy.graph.insert_before(copy.graph[0], nodes)
    else:
        copy.graph.insert_after(producer, nodes)
    for use in uses:
        if use.node is not quantize:
            use.node.replace_input_with(use.idx, dequantize.outputs[0])
    if value.is_graph_output():
        dequantize.outputs[0].type, dequantize.outputs[0].name, value.name = value.type, value.name, "test.float"
        copy.graph.outputs[:] = [dequantize.outputs[0] if one is value else one for one in copy.graph.outputs]
    return copy


def outputs(model: ir.Model, data: list[Feed]) -> list[NDArray[np.float64]]:
    run = runner(model, optimized=False)
    return [output.astype(np.float64) for feed in data for output in run(feed)]


def noise_by_hand(model: ir.Model, changed: ir.Model, data: list[Feed]) -> float:
    expected, actual = outputs(model, data), outputs(changed, data)
    squares = sum(float(np.square(one).sum()) for one in expected)
    return sum(float(np.square(one - other).sum()) for one, other in zip(expected, actual, strict=True)) / squares


@pytest.mark.parametrize("dtype", [ir.DataType.UINT8, ir.DataType.INT8])
@pytest.mark.parametrize("name", BODIES)
def test_the_noise_of_a_value_is_the_error_of_a_model_with_a_quantizer_there(name: str, dtype: ir.DataType) -> None:
    model = measured(source(BODIES[name], WEIGHTS))
    plans = grids(find_kernels(model.graph), dtype)
    found = measure_noise(model, plans, feeds())
    assert found.keys() == plans.keys()
    for value, plan in plans.items():
        expected = noise_by_hand(model, with_rounding(model, value.name or "", plan), feeds())
        assert float(found[value][0]) == pytest.approx(expected, rel=0.05), value.name
        assert found[value].shape == (1,)


def test_the_model_is_as_it_was() -> None:
    model = measured(source(BODIES["SiLU"]))
    before = ir.to_proto(model).SerializeToString()
    measure_noise(model, grids(find_kernels(model.graph), ir.DataType.UINT8), feeds(1))
    assert ir.to_proto(model).SerializeToString() == before


def test_more_values_than_a_session_can_round() -> None:
    body = "c0 = Conv(x, u, b) " + " ".join(f"c{i + 1} = Conv(c{i}, w)" for i in range(20)) + " y = Relu(c20)"
    model = measured(source(body))
    plans = grids(find_kernels(model.graph), ir.DataType.UINT8)
    found = measure_noise(model, plans, feeds(1))
    assert len(found) == len(plans) == 22
    assert all(noise > 0 for noise in found.values())


def test_an_output_that_is_joined_is_taken_in_pieces() -> None:
    """A Concat of what is large and what is small: each has its own size."""
    body = (
        "c = Conv(x, u, b) d = Conv(c, big) e = Conv(c, w) f = Sigmoid(e) t = Concat<axis = 1>(d, f) "
        "y = Transpose<perm = [0, 2, 3, 1]>(t)"
    )
    model = measured(source(body, {"big": 1000 * random((32, 32, 1, 1))}))
    assert [value.name for value in pieces(model.graph)] == ["d", "f"]
    plans = grids(find_kernels(model.graph), ir.DataType.UINT8)
    found = {value.name: noise for value, noise in measure_noise(model, plans, feeds()).items()}
    assert {noise.shape for noise in found.values()} == {(2,)}
    assert found["e"][0] == 0
    assert found["e"][1] > 0
    assert (found["c"] > 0).all()


def test_an_output_that_is_always_0_has_no_noise() -> None:
    body = "c = Conv(x, u, b) d = Conv(c, w) z = Sub(d, d) y = Relu(z)"
    model = measured(source(body))
    plans = grids(find_kernels(model.graph), ir.DataType.UINT8)
    assert all(noise == 0 for noise in measure_noise(model, plans, feeds(1)).values())


@pytest.mark.parametrize("name", BODIES)
def test_the_noise_of_a_weight_is_near_what_rounding_it_makes(name: str) -> None:
    model = measured(source(BODIES[name], WEIGHTS), feeds(8))
    PlanQuantizers()(model)
    kernels = find_kernels(model.graph)
    plans = grids(kernels, ir.DataType.UINT8)
    estimated = dict(weight_noise(kernels, plans, measure_noise(model, plans, feeds())))
    assert {node.op_type for node in estimated} == {"Conv"}
    for linear in find_linears(model.graph):
        rounded = model.clone()
        weight, plan = rounded.graph.initializers[linear.weight.name or ""], quantizer(linear.weight)
        assert plan is not None
        assert weight.const_value is not None
        exact = weight.const_value.numpy()
        weight.const_value = ir.tensor(plan.decode(plan.encode(exact)).astype(np.float32), name=weight.name)
        expected = noise_by_hand(model, rounded, feeds())
        assert abs(10 * np.log10(float(estimated[linear.node][0]) / expected)) < 4, linear.name


def test_what_gptq_cancels_in_correlated_channels_is_no_noise() -> None:
    weights: Arrays = {
        "u": np.repeat(random((1, 3, 3, 3)), 32, axis=0) + random((32, 3, 3, 3)) / 20,
        "w": random((32, 32, 1, 1)),
    }
    model = measured(source("c = Conv(x, u) d = Conv(c, w, b) y = Relu(d)", weights), feeds(8))
    PlanQuantizers()(model)
    Gptq()(model)
    kernels = find_kernels(model.graph)
    plans = grids(kernels, ir.DataType.UINT8)
    estimated = dict(weight_noise(kernels, plans, measure_noise(model, plans, feeds())))
    linear = list(find_linears(model.graph))[1]
    plan, stats = quantizer(linear.weight), statistics(linear.data)
    assert plan is not None
    assert stats is not None
    weight = linear.weight.const_value
    assert weight is not None
    rounded, difference = model.clone(), weight.numpy() - plan.decode(plan.codes)  # type: ignore[arg-type] # Gptq's
    initializers = rounded.graph.initializers
    initializers["w"].const_value = ir.tensor((weight.numpy() - difference).astype(np.float32), name="w")
    mean = stats.rows.mean(axis=0) @ difference[:, :, 0, 0].T
    initializers["b"].const_value = ir.tensor((random((32,)) + mean).astype(np.float32), name="b")
    expected = noise_by_hand(model, rounded, feeds())
    assert abs(10 * np.log10(float(estimated[linear.node][0]) / expected)) < 3
    independent = (np.square(difference).sum(axis=(2, 3)) @ (stats.variance + stats.mean**2)).mean()
    assert independent > 3 * (stats.rows @ difference[:, :, 0, 0].T).var(axis=0).mean()


def test_a_mean_that_a_bias_takes_is_no_noise() -> None:
    found = []
    for inputs in ("r, w", "r, w, b"):
        model = measured(source(f"c = Conv(x, u, b) r = Relu(c) d = Conv({inputs}) y = Relu(d)"), feeds(8))
        PlanQuantizers()(model)
        linear = list(find_linears(model.graph))[1]
        plan = quantizer(linear.weight)
        assert plan is not None
        assert linear.weight.const_value is not None
        codes = np.minimum(plan.encode(linear.weight.const_value.numpy()) + 1, 127)  # one and all too large
        linear.weight.meta[QUANTIZER] = replace(plan, codes=codes.astype(np.int8))
        kernels = find_kernels(model.graph)
        plans = grids(kernels, ir.DataType.UINT8)
        found.append(float(dict(weight_noise(kernels, plans, measure_noise(model, plans, feeds())))[linear.node][0]))
    without_bias, with_bias = found
    assert with_bias < 0.7 * without_bias


@pytest.mark.parametrize(
    "end",
    [
        "f = Reshape(c, flat) k = Greater(f, zero) p = Compress(f, k) y = Unsqueeze(p, axes)",
        "r = Relu(c) l = Sqrt(c) y = Add(r, l)",
    ],
    ids=["shape", "NaN"],
)
def test_rounding_that_decides_on_the_shape_or_on_what_is_finite_costs_all_of_the_output(end: str) -> None:
    arrays = {"flat": np.array([-1]), "axes": np.array([0, 1, 2])}
    model = measured(source(f"c = Conv(x, u, b) {end}", arrays))
    plans = grids(find_kernels(model.graph), ir.DataType.UINT8)
    found = {value.name: float(noise[0]) for value, noise in measure_noise(model, plans, feeds()).items()}
    assert 0.5 < found["c"] <= 1
