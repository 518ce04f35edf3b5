"""GPTQ: on data like that of the calibration, its products are closer than with weights rounded to nearest."""

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from numpy.typing import NDArray

from requant.calib.collect import collect
from requant.ir.canonical.canonicalize import canonicalize
from requant.ir.formats import Format
from requant.ir.linear import find_linears
from requant.ir.load import load
from requant.ir.quantizer import Quantizer, quantizer
from requant.passes import Gptq, InsertQDQ, PlanQuantizers, SelectLayers
from requant.passes.annotations import ROW_WEIGHTS
from requant.passes.epsilons import is_floor
from requant.passes.gptq import gptq
from requant.recipe import Recipe
from requant.runtime.feeds import Feed
from requant.runtime.session import runner

HEADER = '<ir_version: 8, opset_import: ["": 17]> g '
GRAPHS = {
    "matmul": "(float[32, 24] x) => (float[32, 40] y) <float[24, 40] w, float[40] b> "
    "{ m = MatMul(x, w) y = Add(m, b) }",
    "bare": "(float[32, 24] x) => (float[32, 40] y) <float[24, 40] w> { y = MatMul(x, w) }",
    "gemm": "(float[32, 24] x) => (float[32, 40] y) <float[40, 24] w, float[40] b> "
    "{ y = Gemm<transB = 1, beta = 2.0>(x, w, b) }",
    "conv": "(float[2, 24, 4, 4] x) => (float[2, 40, 4, 4] y) <float[40, 24, 1, 1] w, float[40] b> "
    "{ y = Conv(x, w, b) }",
}
LEFT = {
    "3 x 3": "(float[2, 24, 4, 4] x) => (float[2, 40, 2, 2] y) <float[40, 24, 3, 3] w> { y = Conv(x, w) }",
    "shared": "(float[32, 24] x, float[32, 24] z) => (float[32, 40] y) <float[24, 40] w> "
    "{ m = MatMul(x, w) n = MatMul(z, w) y = Sub(m, n) }",
}


def correlated(rows: int, channels: int, seed: int = 0) -> NDArray[np.float64]:
    rng, mixed = np.random.default_rng(seed), np.random.default_rng(0).normal(size=(6, channels))
    return rng.normal(size=(rows, 6)) @ mixed + 0.1 * rng.normal(size=(rows, channels)) + 1.0


def feeds(model: ir.Model, seed: int = 0) -> list[Feed]:
    """Inputs whose channels go together, as they do in a network."""
    arrays = {}
    for value in model.graph.inputs:
        assert value.shape is not None
        shape = value.shape.numpy()
        rows = correlated(shape[0] * int(np.prod(shape[2:])), shape[1], seed)
        arrays[value.name or ""] = np.moveaxis(rows.reshape(shape[0], *shape[2:], shape[1]), -1, 1).astype(np.float32)
    return [arrays]


def planned(text: str, bits: int = 4) -> ir.Model:
    model, rng = ir.from_onnx_text(HEADER + text), np.random.default_rng(0)
    for value in {value for node in model.graph for value in node.inputs if value and value.name in {*"wb"}}:
        assert value.shape is not None
        value.const_value = ir.tensor(rng.normal(size=value.shape.numpy()).astype(np.float32), name=value.name)
        model.graph.register_initializer(value)
    canonicalize(model)
    collect(model, feeds(model))
    SelectLayers()(model)
    PlanQuantizers((Format(bits=bits),))(model)
    return model


def error(model: ir.Model, data: list[Feed]) -> float:
    lowered = model.clone()
    InsertQDQ("tensorrt")(lowered)
    expected, actual = (runner(m)(data[0])[0].astype(np.float64) for m in (model, lowered))
    return float(np.linalg.norm(actual - expected) / np.linalg.norm(expected))


@pytest.mark.parametrize("name", GRAPHS)
def test_outputs_are_closer_on_other_data_too(name: str) -> None:
    model = planned(GRAPHS[name])
    other = feeds(model, seed=1)
    nearest = error(model, other)
    assert Gptq()(model).modified
    assert error(model, other) < 0.95 * nearest


@pytest.mark.parametrize("name", LEFT)
def test_what_is_no_matrix_of_its_own_is_rounded_to_nearest(name: str) -> None:
    model = planned(LEFT[name])
    assert not Gptq()(model).modified
    assert all(getattr(quantizer(linear.weight), "codes", None) is None for linear in find_linears(model.graph))


@pytest.mark.parametrize("name", GRAPHS)
def test_no_node_is_added_for_a_bias(name: str) -> None:
    model = planned(GRAPHS[name])
    before = model.clone()
    Gptq()(model)
    assert any(ROW_WEIGHTS.get(node) is not None for node in model.graph) == (name != "bare")
    for each in (before, model):
        InsertQDQ("tensorrt")(each)
    assert len(model.graph) == len(before.graph)


@pytest.mark.parametrize(("target", "zero_points"), [("tensorrt", False), ("cpu", True), ("cpu-avx2", False)])
def test_bias_correction_takes_off_the_mean_error_of_the_integers_that_the_engine_has(
    target: str, zero_points: bool
) -> None:
    """The plan has 8 bits around 0: other zero points lose other things, and so do weights cut to 7 bits."""
    model, rows = planned(GRAPHS["matmul"], bits=8), 32
    Gptq()(model)
    lowered = model.clone()
    InsertQDQ(target, zero_points)(lowered)
    expected, actual = (runner(each)(feeds(model)[0])[0].astype(np.float64) for each in (model, lowered))
    bias = model.graph.initializers["b"].const_value
    assert bias is not None
    size = np.square(expected - bias.numpy()).sum(axis=1)
    shares = 1 / np.maximum(size, 0.1 * np.median(size))
    mean_error = (shares / shares.sum()) @ (actual - expected)
    assert np.abs(mean_error).max() < 0.02 * np.abs(actual - expected).max() / rows**0.5


@pytest.mark.parametrize("bits", [3, 4, 8])
def test_integers_stay_within_their_bits(bits: int) -> None:
    rng = np.random.default_rng(1)
    rows, matrix = correlated(200, 32), rng.normal(size=(32, 16)).astype(np.float32)
    largest = 2 ** (bits - 1) - 1
    scale = (np.abs(matrix).max(axis=0) / largest).astype(np.float32)
    integers = gptq(matrix, rows.T @ rows / 200 + 0.1 * np.eye(32), Quantizer(scale, 1, bits=bits))
    np.testing.assert_array_equal(integers, np.round(integers))
    assert np.abs(integers).max() <= largest


def test_without_anything_to_make_up_for_integers_are_the_nearest() -> None:
    """With independent channels each row of the weight is rounded alone."""
    matrix = np.random.default_rng(2).normal(size=(16, 8)).astype(np.float32)
    scale = (np.abs(matrix).max(axis=0) / 7).astype(np.float32)
    np.testing.assert_array_equal(gptq(matrix, np.eye(16), Quantizer(scale, 1, bits=4)), np.round(matrix / scale))


def test_blocks_do_not_change_the_integers(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(3)
    rows, matrix = correlated(300, 48), rng.normal(size=(48, 8)).astype(np.float32)
    gram, scale = rows.T @ rows / 300 + 0.1 * np.eye(48), (np.abs(matrix).max(axis=0) / 7).astype(np.float32)
    planned = Quantizer(scale, 1, bits=4)
    whole = gptq(matrix, gram, planned)
    monkeypatch.setattr("requant.passes.gptq._BLOCK", 5)
    assert np.mean(gptq(matrix, gram, planned) == whole) > 0.99


def test_fewer_bits_are_clipped_before_the_quantizer() -> None:
    model = planned(GRAPHS["matmul"], bits=4)
    InsertQDQ("tensorrt")(model)
    assert [node.op_type for node in model.graph if node.op_type == "Clip"] == ["Clip"]
    integers = next(node for node in model.graph if node.op_type == "QuantizeLinear").outputs[0]
    model.graph.outputs.append(integers)
    large = {"x": 3 * feeds(model)[0]["x"]}
    actual = runner(model)(large)[-1].astype(int)
    assert (actual.min(), actual.max()) == (-8, 7)
    onnx.checker.check_model(ir.to_proto(load(ir.to_proto(model))))


def test_zeros_stay_zero_and_one_sided_columns_one_sided() -> None:
    """Pruned weights stay pruned; a filter bank whose sums go into a logarithm never sums to less than 0."""
    rng = np.random.default_rng(0)
    matrix = np.abs(rng.standard_normal((48, 12))).astype(np.float32) * (rng.random((48, 12)) < 0.3)
    matrix[:, 6:] *= -1
    matrix[:, 11] = rng.standard_normal(48)
    rows = np.abs(rng.standard_normal((64, 48))) @ (np.eye(48) + 0.5)
    planned = Quantizer(np.abs(matrix).max(axis=0) / np.float32(7), 1, bits=4)
    integers = gptq(matrix, rows.T @ rows + np.eye(48), planned)
    assert not integers[matrix == 0].any()
    assert (integers[:, :6] >= 0).all()
    assert (integers[:, 6:11] <= 0).all()
    assert (integers != planned.encode(matrix)).any()


@pytest.mark.parametrize(
    ("behind", "floor"),
    [
        ("y = Log(h)", True),
        ("p = Relu(h) y = Sqrt(p)", True),
        ("y = Tanh(h)", False),
        ("y = Div(one, h)", True),
        ("y = Div(h, one)", False),
        ("y = Pow(h, two)", False),
        ("y = Pow(h, half)", True),
    ],
)
def test_what_keeps_a_logarithm_finite_is_no_bias_to_correct(behind: str, floor: bool) -> None:
    text = f"""<ir_version: 10, opset_import: ["" : 20]> g (float[2, 4] x) => (float[2, 4] y) <float[1] one = {{1}},
        float[1] two = {{2}}, float[1] half = {{0.5}},
        float[4, 4] w = {{1,0,0,0,0,1,0,0,0,0,1,0,0,0,0,1}}, float[4] b = {{0,0,0,0}}>
        {{ m = MatMul(x, w) h = Add(m, b) {behind} }}"""
    (linear,) = find_linears(ir.from_onnx_text(text).graph)
    assert is_floor(linear) is floor


def test_one_number_for_all_channels_is_no_bias_to_correct() -> None:
    text = """<ir_version: 10, opset_import: ["" : 20]> g (float[2, 2] x) => (float[2, 2] y)
        <float[2, 2] w = {1, 0, 0, 1}, float[1] b = {0.1}> { m = MatMul(x, w) y = Add(m, b) }"""
    (linear,) = find_linears(ir.from_onnx_text(text).graph)
    assert is_floor(linear)


def test_the_old_word_for_gptq_is_accepted_with_a_warning() -> None:
    with pytest.warns(DeprecationWarning, match="gptq"):
        recipe = Recipe(rounding="compensated")
    assert recipe == Recipe(rounding="gptq")
    assert Recipe().rounding == "gptq"
