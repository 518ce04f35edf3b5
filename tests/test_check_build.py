"""`check --build` and `optimize --build` on a fake TensorRT-RTX whose builder gives a recorded list of layers."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest

import requant
from models import synthetic
from requant.check_build import BuildCheck
from requant.cli.run import run
from requant.runtime.engine_kernel import EngineKernel
from requant.runtime.engine_layer import EngineLayer, EngineTensor
from requant.runtime.engine_plan import PlannedProduct
from requant.runtime.tally import EngineTally
from tests.engine import needs_tensorrt_rtx
from tests.runtime.trt.fake_tensorrt import Calls, fake_tensorrt_rtx
from tests.runtime.trt.listings import listing

SPEC = synthetic.Transformer(256, 4, 1, hidden=1024, tokens=64)
BUILD = ("-t", "tensorrt-rtx", "--build")


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Calls:
    """Put a fake TensorRT-RTX in place."""
    return fake_tensorrt_rtx(monkeypatch)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Hold a model with a dynamic batch, its data, and its artifacts in both precisions."""
    path = tmp_path_factory.mktemp("models")
    source = synthetic.pre_norm(SPEC)
    onnx.save(source, path / "model.onnx")
    feeds = [dict(feed) for feed in synthetic.feeds(source, 2)]
    np.savez(path / "data.npz", x=np.concatenate([feed["x"] for feed in feeds]))
    result = requant.optimize(source, feeds, "int8-plain", "tensorrt-rtx", precision="float16")
    result.save(path / "float16.onnx")
    requant.ir.save(result.lower("tensorrt-rtx", precision="float32"), path / "float32.onnx")
    return path


def check(folder: Path, name: str, *more: str) -> int:
    return run(["check", str(folder / name), *BUILD, "--shape", "x=8x64x256", *more])


def test_an_engine_as_planned_exits_with_0(folder: Path, calls: Calls, capsys: pytest.CaptureFixture[str]) -> None:
    calls.listing = listing("pre_norm_int8_float16")
    assert check(folder, "float16.onnx", "--gpu", "l4") == 0
    printed = capsys.readouterr().out
    for text in ("compute capability 8.9", "µs on L4, an estimate", "product in int8", "1 of 1", "as intended"):
        assert text in printed
    assert calls.builds == 2


@pytest.mark.parametrize(
    ("gpu", "kernels", "text"),
    [
        ("", (2, 1), "int8 does not pay here: 2 MB against 1; take float16"),
        ("", (1, 1), ""),
        ("l4", (2, 1), "int8 does not pay here: 10.67 µs estimated on L4 against 5.333; take float16"),
        ("l4", (1, 2), ""),
    ],
)
def test_a_model_that_is_not_worth_quantizing_is_said_to_be(gpu: str, kernels: tuple[int, int], text: str) -> None:
    tensor = EngineTensor("t", (500, 1000), "float16")
    kernel = EngineKernel(EngineLayer("k", "kgen", (), (), (tensor,), ()), "other", (), "", "")
    plan: dict[PlannedProduct, tuple[EngineKernel, ...]] = {PlannedProduct("y", "int8", "int8"): ()}
    model, baseline = (EngineTally("tensorrt-rtx", "1.7", (kernel,) * count, plan, "8.9", {}, {}) for count in kernels)
    assert BuildCheck(model, baseline, [], gpu).loss == text
    assert BuildCheck(replace(model, products={}), baseline, [], gpu).loss == ""


def test_attention_in_float32_exits_with_1(folder: Path, calls: Calls, capsys: pytest.CaptureFixture[str]) -> None:
    calls.listing = listing("pre_norm_int8_float32")
    assert check(folder, "float32.onnx", "--json", "--capability", "12.0") == 1
    content = json.loads(capsys.readouterr().out)
    assert {finding["rule"] for finding in content["findings"]} == {"float32-attention", "built-attention"}
    assert (content["tally"]["capability"], content["traffic"], content["reference"]) == ("12.0", 1.0, "float16")
    assert len(content["tally"]["kernels"]) == 17
    assert content["tally"]["attentions"][0]["fused"] is False


def test_another_model_may_be_the_baseline(folder: Path, calls: Calls, capsys: pytest.CaptureFixture[str]) -> None:
    calls.listing = listing("pre_norm_int8_float16")
    assert check(folder, "float16.onnx", "--against", str(folder / "model.onnx"), "--json") == 0
    assert json.loads(capsys.readouterr().out)["reference"].endswith("model.onnx")


def test_a_builder_that_refuses_exits_with_1(folder: Path, calls: Calls, capsys: pytest.CaptureFixture[str]) -> None:
    calls.refuses = "no tactic"
    assert check(folder, "float16.onnx") == 1
    assert capsys.readouterr().err == "requant: tensorrt_rtx 1.7.1.116 cannot build the model: no tactic\n"


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (BUILD, "tensorrt_rtx is not installed: pip install tensorrt-rtx"),
        (("-t", "openvino", "--build"), "the kernels of 'openvino' cannot be counted: choose one of cpu, cpu-avx2,"),
        (("-t", "cpu", "--build"), "input 'x' of shape batchx64x256 is dynamic"),
        (("-t", "cpu", "--build", "--gpu", "l4"), "'cpu' takes no compute capability and no GPU: its kernels run on"),
        (
            ("-t", "cpu", "--build", "--capability", "8.9"),
            "'cpu' takes no compute capability and no GPU: its kernels run on",
        ),
        ((*BUILD, "--gpu", "v100"), "unknown GPU 'v100': choose one of l4, 4090, 5090, h100"),
        ((*BUILD, "--shape", "x=8xb"), "--shape x=8xb: not one shape, such as x=8x128, nor three between colons"),
        ((*BUILD, "--shape", "8x2"), "--shape 8x2: not one shape"),
        ((*BUILD, "--shape", "x=1:2"), "--shape x=1:2: not one shape"),
        ((*BUILD, "--threads", "2"), "'tensorrt-rtx' takes no threads: its kernels run on a GPU"),
        ((*BUILD, "--fix"), "--fix and --build do not go together"),
        (("--gpu", "l4"), "--shape, --capability, --gpu and --threads need --build"),
        (("--against", "model.onnx"), "--against needs --build"),
    ],
)
def test_what_cannot_be_built_is_one_line(
    arguments: tuple[str, ...],
    text: str,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt_rtx", None)
    assert run(["check", str(folder / "float16.onnx"), *arguments]) == 2
    printed = capsys.readouterr().err
    assert text in printed
    assert printed.count("\n") == 1


def test_a_dynamic_input_needs_a_shape(folder: Path, calls: Calls, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["check", str(folder / "float16.onnx"), *BUILD]) == 2
    assert "input 'x' of shape batchx64x256 is dynamic: give profiles of it" in capsys.readouterr().err
    assert calls.builds == 0


def test_the_report_has_the_tally(
    folder: Path, tmp_path: Path, calls: Calls, capsys: pytest.CaptureFixture[str]
) -> None:
    calls.listing = listing("pre_norm_int8_float32")
    options = ("--recipe", "int8-plain", *BUILD, "--gpu", "4090", "-o", str(tmp_path / "out.onnx"))
    data = ("-c", str(folder / "data.npz"))
    for ending in ("html", "json"):
        report = tmp_path / f"report.{ending}"
        assert run(["optimize", str(folder / "model.onnx"), *data, *options, "--report", str(report)]) == 0
        assert "attention" in report.read_text(encoding="utf-8")
    printed = capsys.readouterr().out
    assert "µs on RTX 4090, an estimate" in printed
    assert "built-attention" in printed
    assert len(json.loads((tmp_path / "report.json").read_text())["build"]["tally"]["kernels"]) == 17


def test_a_model_that_cannot_be_built_is_written_with_a_note(folder: Path, tmp_path: Path, calls: Calls) -> None:
    calls.refuses = "no tactic"
    result = requant.optimize(
        folder / "model.onnx", folder / "data.npz", "int8-plain", "tensorrt-rtx",
        output=tmp_path / "out.onnx", build=requant.BuildOptions(),
    )  # fmt: skip
    assert result.report.build is None
    assert "not built: tensorrt_rtx 1.7.1.116 cannot build the model: no tactic" in result.report.notes
    assert (tmp_path / "out.onnx").exists()


def test_the_builder_is_asked_for_before_any_work(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt_rtx", None)
    with pytest.raises(requant.TargetError, match="tensorrt_rtx is not installed"):
        requant.optimize(folder / "missing.onnx", target="tensorrt-rtx", build=requant.BuildOptions())


@needs_tensorrt_rtx
@pytest.mark.trt
def test_the_real_builder_moves_fewer_bytes_for_int8_than_for_float16(folder: Path) -> None:
    options = requant.BuildOptions(profiles={"x": ((8, 64, 256),) * 3})
    result = requant.check_build(folder / "float16.onnx", "tensorrt-rtx", options)
    assert result.findings == []
    assert (len(result.tally.kernels), len(result.baseline.kernels)) == (15, 13)
    assert 0.9 < result.traffic < 1
    assert result.loss == ""
