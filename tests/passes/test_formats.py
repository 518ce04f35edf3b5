"""Number formats: the plan and the lowering of each, its kernels, and where it is refused."""

from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from numpy.typing import NDArray

from requant.calib.collect import collect
from requant.ir.canonical.canonicalize import canonicalize
from requant.ir.constants import array
from requant.ir.formats import FP8, INT8, INT8_DYNAMIC, INT8_WEIGHT, Format, int4_weight
from requant.ir.linear import find_linears
from requant.ir.quantizer import quantizer
from requant.ir.save import to_bytes
from requant.passes import Gptq, InsertQDQ, PlanQuantizers
from requant.passes.annotations import layer_records
from requant.passes.scales import block_scales
from requant.runtime.session import runner
from tests.engine import needs, needs_vnni
from tests.passes.optimized import fused_ops

GRAPHS = {
    "matmul": "(float[n, 8, 64] x) => (float[n, 8, 48] y) <float[64, 48] w, float[48] b> "
    "{ m = MatMul(x, w) y = Add(m, b) }",
    "static": "(float[2, 8, 64] x) => (float[2, 8, 48] y) <float[64, 48] w, float[48] b> "
    "{ m = MatMul(x, w) y = Add(m, b) }",
    "bare": "(float[16, 64] x) => (float[16, 48] y) <float[64, 48] w> { y = MatMul(x, w) }",
    "gemm": "(float[16, 64] x) => (float[16, 48] y) <float[48, 64] w, float[48] b> { y = Gemm<transB = 1>(x, w, b) }",
    "product": "(float[16, 64] x) => (float[16, 48] y) <float[64, 48] w> { y = Gemm(x, w) }",
    "many": "(float[512, 64] x) => (float[512, 48] y) <float[64, 48] w> { y = MatMul(x, w) }",
    "shared": "(float[512, 64] x, float[512, 64] z) => (float[512, 48] y) <float[64, 48] w> "
    "{ m = MatMul(x, w) n = MatMul(z, w) y = Sub(m, n) }",
    "odd": "(float[16, 50] x) => (float[16, 48] y) <float[50, 48] w> { y = MatMul(x, w) }",
    "conv": "(float[2, 64, 4, 4] x) => (float[2, 48, 4, 4] y) <float[48, 64, 1, 1] w> { y = Conv(x, w) }",
    "scaled": "(float[16, 64] x) => (float[16, 48] y) <float[64, 48] w> { y = Gemm<alpha = 0.5>(x, w) }",
}
INT4, UINT4 = int4_weight(32), int4_weight(32, symmetric=False)
FORMATS = {"fp8": FP8, "dynamic": INT8_DYNAMIC, "int8 weight": INT8_WEIGHT, "int4": INT4, "uint4": UINT4}
TOLERANCE = {"fp8": 0.05, "dynamic": 0.015, "int8 weight": 0.01, "int4": 0.15, "uint4": 0.12}
TARGETS = {"fp8": "tensorrt"}


def feed(model: ir.Model, seed: int = 0) -> dict[str, NDArray[np.float32]]:
    rng, arrays = np.random.default_rng(seed), dict[str, NDArray[np.float32]]()
    for value in model.graph.inputs:
        assert value.shape is not None
        shape = [dim if isinstance(dim, int) else 2 for dim in value.shape]
        arrays[value.name or ""] = rng.normal(size=shape).astype(np.float32)
    return arrays


def canonical(name: str, opset: int = 17) -> ir.Model:
    model = ir.from_onnx_text(f'<ir_version: 8, opset_import: ["": 17]> g {GRAPHS[name]}')
    rng = np.random.default_rng(1)
    weights = {value.name: value for node in model.graph for value in node.inputs if value and value.name in {*"wb"}}
    for value in weights.values():
        assert value.shape is not None
        value.const_value = ir.tensor(rng.normal(size=value.shape.numpy()).astype(np.float32), name=value.name)
        model.graph.register_initializer(value)
    canonicalize(model, opset)
    return model


def planned(name: str, *formats: Format, calibrated: bool = True) -> ir.Model:
    model = canonical(name, max(fmt.opset for fmt in formats))
    if calibrated:
        collect(model, [feed(model)])
    PlanQuantizers(formats)(model)
    return model


def lowered(model: ir.Model, target: str, *, zero_points: bool = False) -> ir.Model:
    copy = model.clone()
    InsertQDQ(target, zero_points)(copy)
    onnx.checker.check_model(ir.to_proto(copy), full_check=True)
    return copy


def error(candidate: ir.Model, name: str, *, optimized: bool = False) -> float:
    reference = canonical(name)
    expected, actual = (
        runner(model, optimized=fast)(feed(reference))[0].astype(np.float64)
        for model, fast in ((reference, False), (candidate, optimized))
    )
    return float(np.linalg.norm(actual - expected) / np.linalg.norm(expected))


@needs_vnni
@pytest.mark.parametrize("name", ["matmul", "static", "bare", "gemm", "shared", "odd"])
@pytest.mark.parametrize("kind", FORMATS)
def test_each_format_computes_what_the_float_model_does_up_to_its_rounding(kind: str, name: str) -> None:
    model = planned(name, FORMATS[kind])
    loss = error(lowered(model, TARGETS.get(kind, "cpu")), name)
    assert TOLERANCE[kind] / 50 < loss < TOLERANCE[kind]


@pytest.mark.parametrize("name", ["matmul", "static", "bare", "gemm", "scaled"])
def test_dynamic_products_are_one_kernel_with_their_bias(name: str, tmp_path: Path) -> None:
    model = lowered(planned(name, INT8_DYNAMIC, calibrated=False), "cpu")
    assert fused_ops(model, tmp_path) == {"DynamicQuantizeMatMul": 1}
    assert error(model, name, optimized=True) < TOLERANCE["dynamic"]


def test_data_that_several_layers_read_are_quantized_once_at_run_time() -> None:
    model = lowered(planned("shared", INT8_DYNAMIC), "cpu")
    counts = Counter(node.op_type for node in model.graph)
    assert (counts["DynamicQuantizeLinear"], counts["MatMulInteger"]) == (2, 2)
    codes = [value for value in model.graph.initializers.values() if value.dtype == ir.DataType.INT8]
    assert len(codes) == 1, "the weight that both share must be stored once"


@pytest.mark.parametrize("kind", [pytest.param("int8 weight", marks=needs("MatMulNBits of 8 bits")), "int4", "uint4"])
@pytest.mark.parametrize("name", ["matmul", "bare"])
def test_weights_alone_become_matmulnbits(kind: str, name: str, tmp_path: Path) -> None:
    model = lowered(planned(name, FORMATS[kind], calibrated=False), "cpu")
    ops = fused_ops(model, tmp_path)
    assert ops["MatMulNBits"] == 1
    assert not ops["MatMul"]


@pytest.mark.parametrize(("kind", "opset"), [("fp8", 19), ("int4", 21), ("dynamic", 17), ("int8 weight", 17)])
def test_the_opset_is_the_lowest_that_carries_the_format(kind: str, opset: int) -> None:
    assert lowered(planned("bare", FORMATS[kind]), "tensorrt").graph.opset_imports[""] == opset


@pytest.mark.parametrize("block", [16, 32, 128])
def test_weights_of_4_bits_take_little_more_than_4_bits(block: int) -> None:
    model = lowered(planned("bare", int4_weight(block)), "cpu")
    sizes = {value.name: value.const_value.nbytes for value in model.graph.initializers.values() if value.const_value}
    assert sizes["w.codes"] == 64 * 48 // 2
    assert sizes["w.scale"] == -(-64 // block) * 48 * 4


@pytest.mark.parametrize("kind", ["fp8", "int4", "uint4"])
@pytest.mark.parametrize("name", ["matmul", "gemm", "odd"])
def test_gptq_rounds_to_every_format(kind: str, name: str) -> None:
    """The data are independent, so there is little to gain; what must hold is that scales and zero points fit."""
    model = planned(name, FORMATS[kind])
    nearest = error(lowered(model, TARGETS.get(kind, "cpu")), name)
    assert Gptq()(model).modified
    (linear,) = find_linears(model.graph)
    weight = quantizer(linear.weight)
    assert weight is not None
    assert weight.codes is not None
    assert weight.codes.dtype == FORMATS[kind].weights.numpy()
    assert error(lowered(model, TARGETS.get(kind, "cpu")), name) < nearest


@needs_vnni
def test_a_bias_that_rounding_brings_reaches_the_integer_kernel(tmp_path: Path) -> None:
    """A Gemm without bias gets one that makes up for the rounding of its weights."""
    model = planned("product", INT8)
    assert Gptq()(model).modified
    artifact = lowered(model, "cpu")
    assert fused_ops(artifact, tmp_path) == {"QuantizeLinear": 1, "DequantizeLinear": 1, "MatMulIntegerToFloat": 1}
    expected, actual = (
        runner(each)(feed(model))[0].astype(np.float64) for each in (lowered(model, "tensorrt"), artifact)
    )
    assert np.abs(np.subtract(actual, expected)).max() < 1e-5 * np.abs(expected).max()


@pytest.mark.parametrize("reach", [1.5, 3.0])
def test_float8_leaves_room_for_other_data_as_int8_does_not(reach: float) -> None:
    """Data twice as far as those of calibration are still told apart in e4m3."""
    clipped = {}
    for fmt in (INT8, FP8):
        model = planned("bare", fmt)
        data = quantizer(next(find_linears(model.graph)).data)
        assert data is not None
        x = np.float32(reach * np.abs(feed(model)["x"]).max())
        clipped[fmt] = abs(float(data.encode(np.array([x]))[0] * data.scale) - x) > 0.1 * x
    assert clipped == {INT8: True, FP8: reach > 2}


REFUSALS = {
    ("bare", FP8, "cpu"): "cpu has no float8e4m3fn products",
    ("bare", INT8_DYNAMIC, "tensorrt"): "tensorrt has no product whose data are quantized at run time",
    ("bare", INT8, "cuda"): "ONNX Runtime has no integer product on CUDA",
    ("bare", UINT4, "tensorrt"): "tensorrt has no product of float activations by uint4 weights",
    ("conv", INT8_WEIGHT, "tensorrt"): "tensorrt has no Conv of float data by a quantized weight",
    ("conv", INT4, "cpu"): "the weight of a Conv has no blocks of rows",
}


@pytest.mark.parametrize("case", REFUSALS, ids=lambda case: f"{case[0]} {case[1]} {case[2]}")
def test_what_an_engine_cannot_multiply_stays_in_float_with_the_reason(case: tuple[str, Format, str]) -> None:
    name, fmt, target = case
    (record,) = layer_records(lowered(planned(name, fmt), target))
    assert not record.quantized
    assert record.reason.startswith(REFUSALS[case])


def skewed(outlier: float) -> ir.Model:
    """A product of data in which one channel of 64 reaches ``outlier`` times as far as the others."""
    model = canonical("many", 19)
    data = feed(model)["x"].copy()
    data[:, 3] *= outlier
    collect(model, [{"x": data}])
    return model


@pytest.mark.parametrize(("outlier", "fmt"), [(1.0, ir.DataType.INT8), (300.0, ir.DataType.FLOAT8E4M3FN)])
def test_each_value_takes_the_format_of_least_loss(outlier: float, fmt: ir.DataType) -> None:
    model = skewed(outlier)
    PlanQuantizers((INT8, FP8))(model)
    (linear,) = find_linears(model.graph)
    data, weight = quantizer(linear.data), quantizer(linear.weight)
    assert data is not None
    assert weight is not None
    assert (data.dtype, weight.dtype) == (fmt, fmt)


def test_layers_that_share_a_weight_take_one_format() -> None:
    model = canonical("shared", 19)
    data = {name: array.copy() for name, array in feed(model).items()}
    data["z"][:, 3] *= 300
    collect(model, [data])
    PlanQuantizers((INT8, FP8))(model)
    planned_types = {planned.dtype for linear in find_linears(model.graph) if (planned := quantizer(linear.data))}
    assert planned_types == {ir.DataType.INT8}
    assert all(record.quantized for record in layer_records(lowered(model, "tensorrt")))


@needs_vnni
@pytest.mark.parametrize("target", ["cpu", "tensorrt", "openvino"])
def test_a_zero_point_of_its_own_gives_one_sided_data_a_finer_grid(target: str) -> None:
    model = canonical("bare")
    data: NDArray[np.float32] = np.abs(feed(model)["x"])
    collect(model, [{"x": data}])
    PlanQuantizers()(model)
    artifacts = {free: lowered(model, target, zero_points=free) for free in (False, True)}
    expected = runner(canonical("bare"))({"x": data})[0]
    actual = (runner(artifacts[key])({"x": data})[0] for key in (False, True))
    plain, free = (float(np.linalg.norm(np.subtract(each, expected))) for each in actual)
    zero_points = [array(artifacts[key].graph.initializers["x.zero_point"]) for key in (False, True)]
    if target == "cpu":
        assert free < 0.8 * plain
        assert zero_points == [128, 0]
    else:
        assert to_bytes(artifacts[True]) == to_bytes(artifacts[False]), "one has none, the other has it unasked"
        assert zero_points[0] == 0


@needs_vnni
def test_engines_that_saturate_get_weights_of_7_bits() -> None:
    """Two products of an integer up to 255 and one up to 63 still fit the 16 bits in which AVX2 adds them."""
    model = planned("bare", INT8)
    codes = {target: lowered(model, target).graph.initializers["w.codes"].const_value for target in ("cpu", "cpu-avx2")}
    assert [np.abs(tensor.numpy()).max() for tensor in codes.values() if tensor] == [127, 63]
    assert error(lowered(model, "cpu-avx2"), "bare") < 0.02


def test_weights_that_will_have_7_bits_are_rounded_as_such() -> None:
    """Cut to 7 bits afterwards, weights would be rounded to nearest and make up for nothing."""
    errors = []
    for bits in (7, 8):
        model = planned("many", INT8)
        PlanQuantizers(weight_bits=bits)(model)
        Gptq()(model)
        errors.append(error(lowered(model, "cpu-avx2"), "many"))
    assert errors[0] < errors[1]


def test_a_block_of_zeros_has_a_scale_that_half_precision_holds() -> None:
    rows = np.ones((64, 3), np.float32)
    rows[:32, 1] = 0
    for fmt in (INT4, UINT4):
        scale, _ = block_scales(rows, np.ones(64, np.float32), fmt)
        assert (scale.astype(np.float16) > 0).all()
