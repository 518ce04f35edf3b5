"""The verb, end to end on small transformers."""

import json
from dataclasses import dataclass, replace
from io import StringIO
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx_ir.testing import assert_onnx_proto_equal
from rich.console import Console

import requant
from models import synthetic
from requant.calib.sources import batches
from requant.ir.load import load
from requant.ir.save import to_bytes
from requant.recipe import RECIPES, Recipe
from requant.report import Report
from requant.result import Precision
from requant.runtime.price_tables import VNNI
from requant.runtime.prices import KERNELS, Rate, Rates
from requant.runtime.prices_file import save_prices
from requant.stages.measure import BATCHES
from tests.engine import needs, needs_vnni

SPEC = synthetic.Transformer(layers=1)
FEEDS = synthetic.feeds(SPEC, 8)


PRECISIONS: tuple[Precision, ...] = ("float32", "float16", "bfloat16")


@pytest.fixture(scope="module")
def proto() -> onnx.ModelProto:
    return synthetic.pre_norm(SPEC)


@pytest.mark.parametrize("builder", synthetic.BUILDERS)
def test_it_is_much_closer_to_float_than_plain_int8(builder: str) -> None:
    model = synthetic.BUILDERS[builder](SPEC)
    plain, ours = (
        requant.optimize(model, FEEDS, recipe=recipe, target="tensorrt").report.outputs["y"].sqnr
        for recipe in ("int8-plain", "int8")
    )
    assert ours > plain + 10


def test_the_source_is_never_touched(proto: onnx.ModelProto, tmp_path: Path) -> None:
    onnx.save(proto, tmp_path / "model.onnx")
    before, on_disk = proto.SerializeToString(), (tmp_path / "model.onnx").read_bytes()
    model = ir.from_proto(proto)
    text = str(model)
    for source in (proto, model, tmp_path / "model.onnx"):
        requant.optimize(source, FEEDS)
    assert proto.SerializeToString() == before
    assert str(model) == text
    assert (tmp_path / "model.onnx").read_bytes() == on_disk
    assert [path.name for path in tmp_path.iterdir()] == ["model.onnx"]


def test_one_calibration_serves_every_target(proto: onnx.ModelProto) -> None:
    result = requant.optimize(proto, FEEDS, target="cpu")
    other = result.lower("tensorrt", precision="float32")
    assert requant.check(result.model, "cpu") == []
    assert requant.check(other, "tensorrt") == []
    assert requant.check(result.model, "tensorrt") != []
    same = requant.compare(result.model, other, FEEDS)
    assert same.outputs["y"].sqnr > 60
    assert other.metadata_props["requant.target"] == "tensorrt"
    with pytest.raises(requant.TargetError, match="unknown target 'tpu'"):
        result.lower("tpu")


def test_equal_inputs_give_equal_bytes(proto: onnx.ModelProto) -> None:
    assert to_bytes(requant.optimize(proto, FEEDS).model) == to_bytes(requant.optimize(proto, FEEDS).model)


def test_kept_layers_stay_in_float(proto: onnx.ModelProto) -> None:
    names = [layer.name for layer in requant.optimize(proto, FEEDS).report.layers]
    report = requant.optimize(proto, FEEDS, keep=(names[0], f"*{names[-1][1:]}")).report
    assert [layer.name for layer in report.layers if not layer.quantized] == [names[0], names[-1]]
    assert {layer.reason for layer in report.layers if not layer.quantized} == {"kept by request"}


def test_without_data_it_warns_and_records_it(proto: onnx.ModelProto) -> None:
    with pytest.warns(requant.SyntheticCalibrationWarning, match="no calibration data"):
        result = requant.optimize(proto)
    assert "synthetic" in str(result.report.calibration["source"])
    assert not result.report.outputs, "random inputs give no accuracy"
    assert all(layer["sqnr"] is None for layer in result.report.to_dict()["layers"])
    assert "synthetic" in result.model.metadata_props["requant.calibration"]


def test_nothing_to_quantize_comes_back_unchanged_and_says_so(tmp_path: Path) -> None:
    text = '<ir_version: 8, opset_import: ["": 17]> g (float[2, 4] x) => (float[2, 4] y) { y = Relu(x) }'
    model = onnx.parser.parse_model(text)
    result = requant.optimize(model, [{"x": np.ones((2, 4), np.float32)}], output=tmp_path / "out.onnx")
    assert "nothing to quantize" in result.report.message
    assert_onnx_proto_equal(ir.to_proto(result.model), model)
    assert_onnx_proto_equal(onnx.load(tmp_path / "out.onnx"), model)


def test_the_report_tells_everything(proto: onnx.ModelProto, tmp_path: Path) -> None:
    report = requant.optimize(proto, FEEDS, target="tensorrt").report
    plain = report.to_dict()
    for site in plain["sites"]:
        assert {"kind", "values", "consumers", "solver", "scale", "shift", "error_before", "error_after"} <= site.keys()
    assert all(refused["reason"] for refused in plain["refused"])
    measured = [layer["sqnr"] for layer in plain["layers"] if not layer["output"].endswith(".rebased")]
    assert measured
    assert min(measured) > 10
    assert {"load", "analyse", "calibrate", "rewrite", "plan", "lower", "measure"} <= plain["times"].keys()
    assert {"requant", "onnx", "numpy"} <= plain["versions"].keys()
    assert plain["calibration"] == {"source": "iterable", "samples": 8, "held_out": 0}
    report.save(tmp_path / "report.json")
    report.save(tmp_path / "report.html")
    assert json.loads((tmp_path / "report.json").read_text()) == plain
    assert "Sites" in (tmp_path / "report.html").read_text()
    with pytest.raises(requant.OutputError, match=r"ends in \.json or \.html"):
        report.save(tmp_path / "report.txt")


def test_the_report_never_replaces_what_was_read(tmp_path: Path) -> None:
    path, data = tmp_path / "model.onnx", tmp_path / "weights.json"
    onnx.save(synthetic.pre_norm(SPEC), path, save_as_external_data=True, location=data.name, size_threshold=0)
    before = data.read_bytes()
    result = requant.optimize(path, FEEDS, "int8-plain", "tensorrt")
    for save in (result.report.save, result.save_report):
        with pytest.raises(requant.OutputError, match="is the input, or a file of it"):
            save(data)
    assert data.read_bytes() == before
    assert "inputs" not in result.report.to_dict()


@dataclass(frozen=True)
class HalveEveryGain(ir.passes.InPlacePass):
    """A rewrite that is not exact: what verification is for."""

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        for node in model.graph:
            gain = node.inputs[1] if node.op_type == "LayerNormalization" else None
            if gain is not None and gain.const_value is not None:
                gain.const_value = ir.tensor(gain.const_value.numpy() / 2, name=gain.name)
        return ir.passes.PassResult(model, True)


def test_a_rewrite_that_is_not_exact_stops_the_run_and_writes_nothing(proto: onnx.ModelProto, tmp_path: Path) -> None:
    broken = Recipe("broken", rewrites=(HalveEveryGain(),))
    with pytest.raises(
        requant.VerificationError, match=r"HalveEveryGain changed the model at site .* value .* differs"
    ):
        requant.optimize(proto, FEEDS, recipe=broken, output=tmp_path / "out.onnx")
    assert list(tmp_path.iterdir()) == []


def test_attention_masks_are_neither_quantized_nor_looked_at() -> None:
    result = requant.optimize(synthetic.rms_swiglu(SPEC), FEEDS, target="tensorrt")
    scales = [
        value.const_value.numpy().max()
        for value in result.model.graph.initializers.values()
        if value.name and value.name.endswith(".scale") and value.const_value is not None
    ]
    assert scales
    assert max(scales) < 1e4


def test_inspect_finds_the_same_sites_in_every_spelling() -> None:
    spellings: list[tuple[int, synthetic.Dialect]] = [
        (11, "paddle"),
        (11, "pytorch"),
        (14, "pytorch"),
        (17, "fused"),
        (23, "fused"),
    ]
    for builder in synthetic.BUILDERS.values():
        shapes = set()
        for opset, dialect in spellings:
            found = requant.inspect(builder(synthetic.Transformer(layers=1, opset=opset, dialect=dialect)))
            sites = [
                (site.kind, site.channels, len(site.consumers), len(site.inverse_edges), not site.shift_blocked)
                for site in found.sites
            ]
            shapes.add((*sites, len(found.outside)))
        assert len(shapes) == 1, builder


def test_models_with_other_outputs_are_not_compared(proto: onnx.ModelProto) -> None:
    text = '<ir_version: 8, opset_import: ["": 17]> g (float[b, t, 64] x) => (float[b, t, 64] z) { z = Relu(x) }'
    stranger = onnx.parser.parse_model(text)
    with pytest.raises(requant.DataError, match="different outputs"):
        requant.compare(proto, stranger, FEEDS)


def test_benchmark_times_models_side_by_side(proto: onnx.ModelProto) -> None:
    result = requant.optimize(proto, FEEDS)
    first, second = requant.benchmark({"float": proto, "int8": result.model}, FEEDS, runs=3)
    assert (first.name, second.name, first.speedup, second.runs) == ("float", "int8", 1.0, 3)
    assert second.median > 0


def test_w8a8_on_cuda_warns_and_says_what_to_do_instead() -> None:
    proto = synthetic.pre_norm(SPEC)
    with pytest.warns(requant.TargetWarning, match="no integer product on CUDA: take the target tensorrt"):
        result = requant.optimize(proto, FEEDS, target="cuda")
    assert to_bytes(result.model) == to_bytes(load(proto))
    assert "nothing to quantize: every linear layer stays in float on cuda" in result.report.message


@needs_vnni
@pytest.mark.parametrize(("recipe", "least"), [("int8-dynamic", 12), ("int8-weight", 25), ("int4-weight", 3)])
def test_what_needs_no_ranges_needs_no_data_and_does_not_warn(recipe: str, least: float) -> None:
    source = synthetic.pre_norm(SPEC)
    result = requant.optimize(source, recipe=recipe, target="cpu")
    assert all(layer.quantized for layer in result.report.layers)
    assert not result.report.calibration
    assert not result.report.sites
    assert not result.report.outputs, "random inputs give no accuracy"
    assert "random inputs say nothing about the accuracy" in result.report.message
    feeds = batches(None, load(source))
    assert requant.compare(source, result.model, list(feeds)).outputs["y"].sqnr > least


@pytest.mark.parametrize(
    ("recipe", "target", "least"),
    [("int8-dynamic", "cpu", 30), ("fp8", "tensorrt", 20), ("mixed8", "tensorrt", 22), ("int4-weight", "cuda", 15)],
)
def test_recipes_reach_what_their_formats_can(recipe: str, target: str, least: float) -> None:
    alone = replace(RECIPES[recipe], baselines=())
    result = requant.optimize(synthetic.pre_norm(SPEC), FEEDS, recipe=alone, target=target)
    assert result.report.added_nodes == 0
    assert result.report.outputs["y"].sqnr > least
    assert (BATCHES in result.report.notes) is (recipe == "int8-dynamic"), "its scale is that of a whole batch"


@pytest.mark.parametrize("target", ["tensorrt", "cuda"])
def test_half_precision_computes_in_halves_and_keeps_inputs_and_outputs(target: str) -> None:
    recipe = "int8" if target == "tensorrt" else "int4-weight"
    wide, half = (
        requant.optimize(synthetic.pre_norm(SPEC), FEEDS, recipe, target, precision=precision)
        for precision in ("float32", "float16")
    )
    onnx.checker.check_model(ir.to_proto(half.model), full_check=True)
    assert {value.dtype for value in (*half.model.graph.inputs, *half.model.graph.outputs)} == {ir.DataType.FLOAT}
    made = {value.dtype for node in half.model.graph for value in node.outputs if value not in half.model.graph.outputs}
    assert ir.DataType.FLOAT not in made
    assert not half.report.wide
    assert abs(half.report.outputs["y"].sqnr - wide.report.outputs["y"].sqnr) < 1
    assert half.model.metadata_props["requant.precision"] == "float16"


@pytest.mark.parametrize("precision", ["float16", "bfloat16"])
def test_inputs_and_outputs_are_halves_where_asked(precision: Precision) -> None:
    result = requant.optimize(synthetic.pre_norm(SPEC), FEEDS, target="tensorrt", precision=precision, keep_io=False)
    half = {ir.DataType[precision.upper()]}
    assert {value.dtype for value in (*result.model.graph.inputs, *result.model.graph.outputs)} == half
    assert "Cast" not in {node.op_type for node in result.model.graph}
    onnx.checker.check_model(ir.to_proto(result.model), full_check=True)
    assert requant.check(result.model, "tensorrt") == []
    kept = result.lower("tensorrt", keep_io=True)
    assert {value.dtype for value in (*kept.graph.inputs, *kept.graph.outputs)} == {ir.DataType.FLOAT}
    assert result.report.outputs["y"].sqnr > 20, "measured with float32 data"


@needs("rounding of halves to the nearest code")
def test_bfloat16_is_measured_in_float32_and_the_report_says_so() -> None:
    """ONNX Runtime's CPU has no kernels for it."""
    reports = {
        precision: requant.optimize(synthetic.pre_norm(SPEC), FEEDS, target="tensorrt", precision=precision).report
        for precision in PRECISIONS
    }
    assert {name: (report.precision, report.measured_in) for name, report in reports.items()} == {
        "float32": ("float32", "float32"), "float16": ("float16", "float16"), "bfloat16": ("bfloat16", "float32"),
    }  # fmt: skip
    assert reports["bfloat16"].outputs == reports["float32"].outputs != reports["float16"].outputs
    assert ", bfloat16)" in (text := printed(reports["bfloat16"]))
    assert "Against the float model, computed in float32" in text
    assert "measured on 4 samples of the calibration data itself" in text
    assert "computed in" not in printed(reports["float16"])


def printed(report: Report) -> str:
    console = Console(width=200, file=StringIO(), record=True)
    console.print(report.render())
    return console.export_text()


def test_a_model_whose_output_has_any_size_is_quantized_but_not_measured() -> None:
    """A value that rounding moves across the threshold makes one element more or less."""
    rng = np.random.default_rng(0)
    proto = onnx.parser.parse_model(
        """<ir_version: 8, opset_import: ["": 17]> g (float[64, 32] x) => (int64[2, n] y)
        <float zero = {0.0}> { m = MatMul(x, w) c = Greater(m, zero) y = NonZero(c) }"""
    )
    weight = rng.normal(size=(32, 32)).astype(np.float32)
    proto.graph.initializer.append(onnx.numpy_helper.from_array(weight, "w"))
    data = [{"x": rng.normal(size=(64, 32)).astype(np.float32)}]
    report = requant.optimize(proto, data, target="tensorrt").report
    assert [layer.quantized for layer in report.layers] == [True]
    assert "not measured: 'y' has shape (2, " in report.message
    assert not report.outputs


@needs("rounding of halves to the nearest code")
def test_half_precision_of_ops_without_a_kernel_is_measured_in_float32() -> None:
    """ONNX Runtime has some pools up to opset 21, and codes beside halves need 23."""
    proto = onnx.parser.parse_model(
        """<ir_version: 8, opset_import: ["": 17]> g (float[1, 2, 8, 32] x) => (float[1, 2, 8, 32] y)
        { m = MatMul(x, w) p = GlobalLpPool(m) y = Mul(m, p) }"""
    )
    weight = np.random.default_rng(0).normal(size=(32, 32)).astype(np.float32)
    proto.graph.initializer.append(onnx.numpy_helper.from_array(weight, "w"))
    data = [{"x": weight[:16].reshape(1, 2, 8, 32)}]
    reports = [requant.optimize(proto, data, target="tensorrt", precision=precision).report for precision in PRECISIONS]
    assert [(report.precision, report.measured_in) for report in reports] == [(name, "float32") for name in PRECISIONS]
    assert reports[0].outputs == reports[1].outputs == reports[2].outputs
    assert [report.layers[0].quantized for report in reports] == [True] * 3


@needs("rounding of halves to the nearest code")
def test_a_float32_model_that_does_not_run_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """It would be ours, not that of a missing kernel, so no model may come of it."""

    def refuse(*models: ir.Model) -> None:
        raise requant.SourceError("ONNX Runtime does not load the model")

    monkeypatch.setattr("requant.stages.measure.compare", refuse)
    for precision in PRECISIONS:
        with pytest.raises(requant.SourceError, match="does not load"):
            requant.optimize(synthetic.pre_norm(SPEC), FEEDS, target="tensorrt", precision=precision)


@pytest.mark.parametrize(
    ("target", "precision"),
    [("cpu", "float32"), ("openvino", "float32"), ("tensorrt", "float16"), ("tensorrt-rtx", "float16")],
)
@pytest.mark.parametrize("asked", [None, "auto"])
def test_the_engine_chooses_the_precision(target: str, precision: str, asked: Precision | None) -> None:
    result = requant.optimize(synthetic.pre_norm(SPEC), FEEDS, "int8-plain", target, precision=asked)
    assert result.report.precision == precision
    assert {value.dtype for value in (*result.model.graph.inputs, *result.model.graph.outputs)} == {ir.DataType.FLOAT}
    inside = {value.dtype for node in result.model.graph if node.op_type == "Add" for value in node.outputs}
    assert inside == {ir.DataType[{"float32": "FLOAT"}.get(precision, precision.upper())]}
    if target == "cpu":
        assert "Cast" in {node.op_type for node in result.lower("tensorrt").graph}


BRANCHES = """m = MatMul(x, w) y = If (c) <then_branch = a () => (float[8, 32] p) { n = MatMul(m, w) p = Relu(n) },
    else_branch = b () => (float[8, 32] q) { q = Identity(m) }>"""
FLAGGED = [{"x": np.random.default_rng(1).normal(size=(8, 32)).astype(np.float32), "c": np.array(True)}]


@pytest.mark.parametrize(("outside", "layers"), [("m = MatMul(x, w)", ["m", "n"]), ("m = Relu(x)", ["n"])])
def test_layers_in_branches_are_quantized(outside: str, layers: list[str]) -> None:
    report = requant.optimize(_with_weight(BRANCHES.replace("m = MatMul(x, w)", outside)), FLAGGED).report
    assert [(layer.output, layer.quantized) for layer in report.layers] == [(name, True) for name in layers]


STACKED = """z, y = Scan <num_scan_inputs = 1, scan_output_axes = [1], body = b (float[8, 32] s, float[8] e)
    => (float[8, 32] t, float[8] o) { t = MatMul(s, w) o = Neg(e) }> (x, xt)"""


def test_layers_in_bodies_that_are_not_entered_are_named() -> None:
    report = requant.optimize(_with_weight(f"xt = Transpose(x) {STACKED}"), FLAGGED).report
    assert [(layer.output, layer.quantized) for layer in report.layers] == [("t", False)]
    assert report.layers[0].reason == "it is in the body of a Scan that stacks along another axis than the first"
    assert report.message.startswith("nothing to quantize: every linear layer stays in float")


def _with_weight(nodes: str) -> onnx.ModelProto:
    header = '<ir_version: 8, opset_import: ["": 17]> g (float[8, 32] x, bool c) => (float[8, 32] y)'
    proto = onnx.parser.parse_model(f"{header} {{ {nodes} }}")
    weight = np.random.default_rng(0).normal(size=(32, 32)).astype(np.float32)
    proto.graph.initializer.append(onnx.numpy_helper.from_array(weight, "w"))
    return proto


@pytest.mark.parametrize("target", ["cpu", "tensorrt"])
def test_sizes_below_0_are_any_size(target: str) -> None:
    """Some exporters write -1 where the batch goes."""
    proto = synthetic.pre_norm(SPEC)
    proto.graph.input[0].type.tensor_type.shape.dim[0].dim_value = -1
    result = requant.optimize(proto, FEEDS, target=target)
    assert result.report.outputs["y"].sqnr > 20
    assert not any(isinstance(size, int) and size < 0 for size in result.model.graph.inputs[0].shape or ())


def test_half_inputs_without_a_half_are_refused() -> None:
    with pytest.raises(requant.RequantError, match="precision float16 or bfloat16"):
        requant.optimize(synthetic.pre_norm(SPEC), FEEDS, keep_io=False)


@needs("QuantizeLinear of opset 23")
def test_float32_data_serve_a_model_of_float16_inputs() -> None:
    source = synthetic.pre_norm(SPEC)
    half = requant.optimize(source, FEEDS, target="tensorrt", precision="float16", keep_io=False)
    assert requant.compare(source, half.model, FEEDS).outputs["y"].sqnr > 20
    times = requant.benchmark({"float": source, "half": half.model}, FEEDS, runs=1)
    assert [latency.name for latency in times] == ["float", "half"]


def test_a_plan_in_float32_is_lowered_in_halves_too() -> None:
    result = requant.optimize(synthetic.pre_norm(SPEC), FEEDS, target="cpu")
    half = result.lower("tensorrt", precision="float16")
    whole = requant.optimize(synthetic.pre_norm(SPEC), FEEDS, target="tensorrt", precision="float16")
    assert [node.op_type for node in half.graph] == [node.op_type for node in whole.model.graph]
    assert requant.check(half, "tensorrt") == []


def test_prices_decide_what_runs_on_integers(proto: onnx.ModelProto, tmp_path: Path) -> None:
    slow = {name: Rates(Rate(0.01), Rate(0.01, 0.1)) for name in KERNELS}
    path = tmp_path / "prices.json"
    save_prices(replace(VNNI, kernels=slow), path)
    assert any(layer.quantized for layer in requant.optimize(proto, FEEDS, "int8-plain").report.layers)
    report = requant.optimize(proto, FEEDS, "int8-plain", prices=path).report
    assert f"priced by {VNNI.source}" in report.notes
    assert {layer.reason for layer in report.layers} == {
        f"int8 is estimated to run {size} channels {gain} times as fast as float, less than 1.1 times"
        for size, gain in (("64 to 64", "0.76"), ("64 to 256", "0.84"), ("256 to 64", "0.84"))
    }


def test_prices_are_for_targets_that_decide_by_them(proto: onnx.ModelProto) -> None:
    with pytest.raises(requant.RequantError, match="prices decide nothing for tensorrt"):
        requant.optimize(proto, FEEDS, target="tensorrt", prices=VNNI)


def test_prices_hold_for_their_own_target_alone(proto: onnx.ModelProto) -> None:
    slow = replace(VNNI, kernels={name: Rates(Rate(0.01), Rate(0.01, 0.1)) for name in KERNELS})
    result = requant.optimize(proto, FEEDS, "int8-plain", "cpu-avx2", prices=slow)
    assert not any(layer.quantized for layer in result.report.layers)


def test_prices_are_never_overwritten(proto: onnx.ModelProto, tmp_path: Path) -> None:
    path = tmp_path / "prices.json"
    save_prices(VNNI, path)
    with pytest.raises(requant.OutputError, match="is the input"):
        requant.optimize(proto, FEEDS, prices=path, report_file=path)
