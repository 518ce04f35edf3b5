"""Findings in the graphs that onnxruntime.quantization.quantize_static writes by default."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from numpy.typing import NDArray
from onnx.parser import parse_model
from onnxruntime.quantization import quantize_static

from models import synthetic
from models.vit import VIT_S
from requant.ir.load import load
from requant.runtime import check, compare, fix

Feed = Mapping[str, NDArray[np.generic]]


class Consumer:
    """Feeds, one by one."""

    def __init__(self, feeds: Sequence[Feed]) -> None:
        self.feeds = iter(feeds)

    def get_next(self) -> Feed | None:
        return next(self.feeds, None)


@pytest.fixture(autouse=True)
def quiet(caplog: pytest.LogCaptureFixture) -> None:
    """Silence its recommendation of pre-processing, which would change nothing here."""
    caplog.set_level("ERROR")


def quantized(source: onnx.ModelProto | Path, feeds: Sequence[Feed], folder: Path, **options: bool) -> ir.Model:
    if isinstance(source, onnx.ModelProto):  # of which it would move the weights to a file
        onnx.save(source, folder / "source.onnx")
        source = folder / "source.onnx"
    quantize_static(source, folder / "quantized.onnx", Consumer(feeds), extra_options=options)
    return load(folder / "quantized.onnx")


def violations(model: ir.Model, target: str) -> set[tuple[str, str]]:
    return {(finding.rule, finding.node) for finding in check(model, target)}


def sqnr(source: onnx.ModelProto, candidate: ir.Model, feeds: Sequence[Feed]) -> float:
    return compare(load(source), candidate, feeds).outputs["y"].sqnr


def test_one_layer(tmp_path: Path) -> None:
    source = parse_model("""
        <ir_version: 8, opset_import: ["": 17]> tiny (float[3,4] x) => (float[3,4] y)
        <float[4] g = {1, 1, 1, 1}, float[4] b = {1, 2, 3, 4},
         float[4,4] w = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}>
        { n = LayerNormalization (x, g, b) y = MatMul (n, w) }
    """)
    one_sided = [{"x": np.random.default_rng(0).random((3, 4), np.float32)}]
    model = quantized(source, one_sided, tmp_path)
    assert violations(model, "tensorrt") == {
        ("zero-point", "x_QuantizeLinear"),
        ("zero-point", "n_QuantizeLinear"),
        ("zero-point", "y_QuantizeLinear"),
        ("int32-bias", "b_DequantizeLinear"),
        ("quantized-norm", "b_DequantizeLinear"),
        ("quantized-norm", "g_DequantizeLinear"),
        ("quantized-output", "y_QuantizeLinear"),
        ("no-integer-kernel", "x_DequantizeLinear"),
        ("thin-layer", "y_QuantizeLinear_Input"),
    }


NORMS = ["layers.0.norm.{}_0", "layers.0.norm.{}_1", "final.norm.{}_0"]


@pytest.mark.parametrize("dialect", ["fused", "pytorch"])
def test_a_small_transformer(dialect: synthetic.Dialect, tmp_path: Path) -> None:
    spec = synthetic.Transformer(layers=1, batch=1, tokens=16, dialect=dialect)
    feeds = synthetic.feeds(spec, 2)
    model = quantized(synthetic.pre_norm(spec), feeds, tmp_path)
    for target in ("tensorrt", "cpu"):
        parameters = {f"{norm.format(name)}_DequantizeLinear" for norm in NORMS for name in ("gamma", "beta")}
        assert {("quantized-norm", name) for name in parameters} <= violations(model, target)
    betas = {("int32-bias", f"{norm.format('beta')}_DequantizeLinear") for norm in NORMS}
    assert {item for item in violations(model, "tensorrt") if item[0] == "int32-bias"} == (
        betas if dialect == "fused" else set()
    )
    assert ("zero-point", "layers.0.softmax_0_QuantizeLinear") in violations(model, "tensorrt")


@pytest.mark.parametrize("dialect", synthetic.DIALECTS)
def test_a_small_transformer_is_fixed(dialect: synthetic.Dialect, tmp_path: Path) -> None:
    spec = synthetic.Transformer(layers=1, batch=1, tokens=16, dialect=dialect)
    source, feeds = synthetic.pre_norm(spec), synthetic.feeds(spec, 2)
    model = quantized(source, feeds, tmp_path)
    cpu, tensorrt = fix(model, "cpu"), fix(model, "tensorrt")
    assert cpu.findings == []
    assert {finding.rule for finding in tensorrt.findings} == {"zero-point"}
    before, *after = (sqnr(source, candidate, feeds) for candidate in (model, cpu.model, tensorrt.model))
    assert min(after) > before


def test_a_small_transformer_without_zero_points_is_fixed_for_tensorrt(tmp_path: Path) -> None:
    spec = synthetic.Transformer(layers=1, batch=1, tokens=16)
    source, feeds = synthetic.pre_norm(spec), synthetic.feeds(spec, 2)
    model = quantized(source, feeds, tmp_path, ActivationSymmetric=True)
    assert {"int32-bias", "quantized-norm"} <= {rule for rule, _ in violations(model, "tensorrt")}
    fixed = fix(model, "tensorrt")
    assert fixed.findings == []
    assert sqnr(source, fixed.model, feeds) > sqnr(source, model, feeds)


@pytest.mark.download
def test_vit_s(tmp_path: Path) -> None:
    model = quantized(VIT_S.model(), VIT_S.calibration()[:1], tmp_path)
    pairs = violations(model, "tensorrt")
    norms = [f"backbone.encoder.layer.{layer}.norm{which}" for layer in range(12) for which in (1, 2)]
    parameters = [f"{norm}.{name}" for norm in [*norms, "backbone.layernorm"] for name in ("weight", "bias")]
    assert {("quantized-norm", f"{name}_DequantizeLinear") for name in parameters} <= pairs
    convs = ["backbone.embeddings.patch_embeddings.projection", "decoder.final_conv"]
    biased = [*convs, *(f"decoder.{kind}{which}" for kind in ("upconv", "bn") for which in (1, 2, 3))]
    assert {node for rule, node in pairs if rule == "int32-bias"} == {
        f"{name}.bias_DequantizeLinear" for name in biased
    }
    assert sum(rule == "zero-point" for rule, _ in pairs) > 500
    assert {rule for rule, _ in violations(model, "cpu")} == {"int8-activation", "no-integer-kernel", "quantized-norm"}
    assert fix(model, "cpu").findings == []
    assert {finding.rule for finding in fix(model, "tensorrt").findings} == {"zero-point"}
