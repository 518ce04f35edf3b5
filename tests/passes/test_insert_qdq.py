"""The lowering: the same plan for each engine, with each engine's traps."""

import re
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from numpy.typing import NDArray

from models import synthetic
from requant.calib.activations import measure_activations
from requant.calib.collect import collect
from requant.ir.canonical.canonicalize import canonicalize
from requant.ir.load import load
from requant.passes import InsertQDQ, PlanQuantizers, SelectLayers
from requant.passes.annotations import layer_records
from requant.passes.records import LayerRecord
from requant.passes.regions.choose import NOT_MEASURED
from requant.runtime.check import check
from requant.runtime.feeds import Feed
from requant.runtime.session import runner
from tests.engine import needs_vnni
from tests.passes.optimized import fused_ops

HEADER = '<ir_version: 8, opset_import: ["": 17]>'
GRAPHS = {
    "matmul": ("x", [2, 8, 32], "w: 32 48, b: 48", "m = MatMul(x, w) y = Add(b, m)"),
    "matmul-2d": ("x", [8, 32], "w: 32 48, b: 48", "m = MatMul(x, w) y = Add(m, b)"),
    "gemm": ("x", [8, 32], "w: 48 32, b: 48", "y = Gemm<transB=1>(x, w, b)"),
    "gemm-bare": ("x", [8, 32], "w: 32 48", "y = Gemm(x, w)"),
    "gemm-scaled": ("x", [8, 32], "w: 48 32, b: 48", "y = Gemm<transB=1, alpha=0.5, beta=2.0>(x, w, b)"),
    "fan-out": ("x", [2, 8, 32], "w: 32 48, v: 32 48", "m = MatMul(x, w) n = MatMul(x, v) y = Sub(m, n)"),
    "conv": ("x", [1, 32, 6, 6], "w: 16 32 1 1, b: 16", "y = Conv(x, w, b)"),
    "residual-2d": ("x", [8, 32], "w: 32 32", "m = MatMul(x, w) y = Add(m, x)"),
}


def planned(name: str, *, dynamic: bool = False, keep: tuple[str, ...] = ()) -> tuple[ir.Model, dict[str, np.ndarray]]:
    source, shape, weights, body = GRAPHS[name]
    dims = ", ".join(["n" if dynamic and not axis else str(size) for axis, size in enumerate(shape)])
    rng, proto_weights = np.random.default_rng(0), []
    for weight in weights.split(", "):
        key, *size = weight.replace(":", "").split()
        data = rng.normal(size=[int(length) for length in size]).astype(np.float32)
        proto_weights.append(onnx.numpy_helper.from_array(data, key))
    outer = ", ".join(f"d{axis}" for axis in range(len(shape)))
    proto = onnx.parser.parse_model(f"{HEADER} g (float[{dims}] {source}) => (float[{outer}] y) {{ {body} }}")
    proto.graph.initializer.extend(proto_weights)
    model = load(proto)
    canonicalize(model)
    feed = {source: rng.normal(size=shape).astype(np.float32)}
    collect(model, [feed])
    SelectLayers(keep)(model)
    PlanQuantizers()(model)
    return model, feed


def lowered(model: ir.Model, target: str) -> ir.Model:
    copy = model.clone()
    InsertQDQ(target)(copy)
    return copy


def output(model: ir.Model, feed: Feed, *, optimized: bool = False) -> NDArray[np.float64]:
    return runner(model, optimized=optimized)(feed)[0].astype(np.float64)


def float_layers(model: ir.Model) -> list[LayerRecord]:
    return [record for record in layer_records(model) if not record.quantized]


@pytest.mark.parametrize("name", ["matmul", "gemm", "fan-out", "conv"])
def test_tensorrt_gets_int8_with_zero_point_0_float_bias_and_one_quantizer_a_value(name: str) -> None:
    model = lowered(planned(name)[0], "tensorrt")
    quantize = [node for node in model.graph if node.op_type == "QuantizeLinear"]
    assert len(quantize) == 1
    for node in model.graph:
        if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
            zero_point = node.inputs[2]
            assert zero_point is not None
            assert zero_point.const_value is not None
            assert zero_point.dtype == ir.DataType.INT8
            assert not zero_point.const_value.numpy().any()
    integers = [value for value in model.graph.initializers.values() if value.name and value.name.endswith(".codes")]
    assert [value.dtype for value in integers] == [ir.DataType.INT8] * len(integers) != []
    assert check(model, "tensorrt") == []


@pytest.mark.parametrize("dynamic", [False, True])
@pytest.mark.parametrize("name", ["matmul", "matmul-2d", "gemm", "gemm-bare", "gemm-scaled", "fan-out", "residual-2d"])
def test_a_default_cpu_session_has_one_kernel_for_a_product_and_its_bias(
    name: str, dynamic: bool, tmp_path: Path
) -> None:
    model, feed = planned(name, dynamic=dynamic)
    artifact = lowered(model, "cpu")
    ops = fused_ops(artifact, tmp_path)
    products = {"fan-out": 2}.get(name, 1)
    after = {"fan-out": {"Sub": 1}, "residual-2d": {"Add": 1}}.get(name, {})
    del ops["DequantizeLinear"]
    assert ops == {"QuantizeLinear": 1, "MatMulIntegerToFloat": products, **after}
    assert check(artifact, "cpu") == []
    fused, unfused = (output(artifact, feed, optimized=optimized) for optimized in (True, False))
    np.testing.assert_allclose(fused, unfused, rtol=1e-6, atol=1e-6 * np.abs(unfused).max())


@needs_vnni
@pytest.mark.parametrize("name", ["matmul", "matmul-2d", "gemm", "gemm-scaled", "fan-out"])
def test_both_engines_get_the_same_real_values(name: str) -> None:
    model, feed = planned(name)
    cpu, tensorrt = (output(lowered(model, target), feed) for target in ("cpu", "tensorrt"))
    exact = output(model, feed)
    np.testing.assert_allclose(cpu, tensorrt, atol=1e-6 * np.abs(tensorrt).max())
    assert 1e-4 < np.abs(tensorrt - exact).max() / np.abs(exact).max() < 0.05


@needs_vnni
def test_a_residual_sum_before_a_norm_is_no_skip_layer_normalization(tmp_path: Path) -> None:
    """Its CPU kernel is several times slower than Add and LayerNormalization."""
    body = "m = MatMul(x, w) n = Add(b, m) r = Add(n, x) y = LayerNormalization(r, g, h)"
    GRAPHS["post-norm"] = ("x", [2, 8, 32], "w: 32 32, b: 32, g: 32, h: 32", body)
    model, feed = planned("post-norm")
    assert fused_ops(model, tmp_path)["SkipLayerNormalization"] == 1
    artifact = lowered(model, "cpu")
    ops = fused_ops(artifact, tmp_path)
    assert (ops["SkipLayerNormalization"], ops["Sum"], ops["LayerNormalization"]) == (0, 1, 1)
    assert "Sum" not in {node.op_type for node in lowered(model, "tensorrt").graph}
    np.testing.assert_allclose(output(artifact, feed), output(lowered(model, "tensorrt"), feed), atol=1e-4)


def test_what_stays_in_float_is_named_with_its_reason() -> None:
    assert [record.reason for record in float_layers(lowered(planned("matmul", keep=("*",))[0], "cpu"))] == [
        "kept by request"
    ]
    model, feed = planned("conv")
    assert [record.reason for record in float_layers(lowered(model, "cpu"))] == [NOT_MEASURED]
    measure_activations(model, [feed])
    [record] = float_layers(lowered(model, "cpu"))
    assert re.fullmatch(
        r"int8 is estimated to make the model slower by \d+\.\d% there, Q and DQ included", record.reason
    )


def test_a_weight_that_is_read_along_both_axes_is_quantized_along_one() -> None:
    """The scales of one layer would lie along the channels that the other contracts, which engines get wrong."""
    GRAPHS["both-axes"] = ("x", [8, 32], "w: 32 32", "m = MatMul(x, w) n = Gemm<transB=1>(x, w) y = Sub(m, n)")
    for target in ("cpu", "tensorrt"):
        artifact = lowered(planned("both-axes")[0], target)
        assert [record.reason for record in float_layers(artifact)] == [
            "another layer reads its weight along the other axis"
        ]
        assert "weight-scale-axis" not in {finding.rule for finding in check(artifact, target)}


def test_passes_that_were_not_prepared_say_what_to_run_first() -> None:
    text = f"{HEADER} g (float[8, 32] x) => (float[8, 32] y) {{ y = MatMul(x, w) }}"
    proto = onnx.parser.parse_model(text)
    proto.graph.initializer.append(onnx.numpy_helper.from_array(np.eye(32, dtype=np.float32), "w"))
    for rewrite, missing in ((PlanQuantizers(), "no statistics"), (InsertQDQ(), "no plan")):
        with pytest.raises(ir.passes.PreconditionError, match=missing):
            rewrite(load(proto))


def test_thin_layers_are_left_alone() -> None:
    GRAPHS["thin"] = ("x", [2, 8, 8], "w: 8 48", "y = MatMul(x, w)")
    [record] = float_layers(lowered(planned("thin")[0], "tensorrt"))
    assert "8 to 48 channels are too few" in record.reason


@pytest.mark.parametrize("target", ["cpu", "tensorrt"])
@pytest.mark.parametrize("builder", synthetic.BUILDERS)
def test_the_checker_finds_nothing_in_what_we_lower(builder: str, target: str) -> None:
    spec = synthetic.Transformer(layers=1)
    model = load(synthetic.BUILDERS[builder](spec))
    canonicalize(model)
    collect(model, synthetic.feeds(spec, 2))
    PlanQuantizers()(model)
    artifact = lowered(model, target)
    assert check(artifact, target) == []
    assert not float_layers(artifact)
    onnx.checker.check_model(ir.to_proto(artifact), full_check=True)


def test_quantized_weights_are_the_rounded_weights() -> None:
    model, _ = planned("matmul")
    weight = model.graph.initializers["w"].const_value
    assert weight is not None
    artifact = lowered(model, "tensorrt")
    assert "w" not in artifact.graph.initializers, "the float weight must not be shipped"
    integers, scale = (artifact.graph.initializers[f"w.{part}"].const_value for part in ("codes", "scale"))
    assert integers is not None
    assert scale is not None
    assert integers.numpy().dtype == np.int8
    assert scale.shape == (48,)
    np.testing.assert_array_equal(np.abs(integers.numpy()).max(0), 127)
    error = np.abs(integers.numpy() * scale.numpy() - weight.numpy())
    assert (error <= scale.numpy() / 2 * 1.0001).all()
