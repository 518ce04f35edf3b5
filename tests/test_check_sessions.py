"""`check --build` and `optimize --build` on the CPU: kernels of ONNX Runtime sessions, beside those in float."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest

import requant
from models import synthetic
from requant.check_build import BuildCheck
from requant.cli.run import run
from requant.runtime import SessionTally
from requant.runtime.engine_plan import PlannedProduct
from tests.runtime.check_graphs import CONV, UINT8, graph
from tests.runtime.engine_facts import BAD

BUILD = ("-t", "cpu", "--build")
SHAPE = ("--shape", "x=2x8x64")


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Time few runs of each model, without a pause."""
    module = sys.modules["requant.check_build"]  # the package has the function under this name
    monkeypatch.setattr(module, "RUNS", 1)
    monkeypatch.setattr(module, "PAUSE", 0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Hold a model with a dynamic batch, its data and its artifact, and a Conv that ONNX Runtime runs in float."""
    path = tmp_path_factory.mktemp("models")
    source = synthetic.pre_norm(synthetic.Transformer(64, 2, 1, tokens=8))
    onnx.save(source, path / "model.onnx")
    feeds = [dict(feed) for feed in synthetic.feeds(source, 2)]
    np.savez(path / "data.npz", x=np.concatenate([feed["x"] for feed in feeds]))
    requant.optimize(source, feeds, "int8-plain", "cpu", output=path / "int8.onnx")
    requant.ir.save(graph(UINT8 + CONV.replace("c =", "y ="), "float[1,16,6,6] x"), path / "conv.onnx")
    return path


def check(folder: Path, name: str, *more: str) -> int:
    return run(["check", str(folder / name), *BUILD, *more])


def test_kernels_as_planned_exit_with_0(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert check(folder, "int8.onnx", *SHAPE) == 0
    printed = capsys.readouterr().out
    for text in (
        "Kernels of onnxruntime",
        "float32",
        "MatMulIntegerToFloat in int8",
        "ms a run, measured here",
        "7 of 7",
    ):
        assert text in printed
    assert "times the bytes of those of float32, and a run takes" in printed
    assert "cpu will run it as intended" in printed


def test_a_planned_layer_in_float_exits_with_1(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert check(folder, "conv.onnx", "--json") == 1
    content = json.loads(capsys.readouterr().out)
    assert {finding["rule"] for finding in content["findings"]} == {"conv-output", "built-product"}
    assert (len(content["milliseconds"]), content["reference"]) == (2, "float32")
    (product,) = content["tally"]["products"]
    assert (product["data"], product["types"]) == ("int8", ["float32"])
    assert not any("Quantize" in kernel["ops"][0] for kernel in content["baseline"]["kernels"])


def test_the_float_model_may_be_given(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert check(folder, "int8.onnx", *SHAPE, "--against", str(folder / "model.onnx"), "--threads", "1", "--json") == 0
    content = json.loads(capsys.readouterr().out)
    assert content["tally"]["threads"] == content["baseline"]["threads"] == 1
    assert content["reference"].endswith("model.onnx")
    assert not any("Integer" in kernel["ops"][0] for kernel in content["baseline"]["kernels"])


def test_a_model_that_does_not_run_exits_with_1(
    folder: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    requant.ir.save(graph(BAD["scale-per-channel"][1]), tmp_path / "wrong.onnx")
    assert check(tmp_path, "wrong.onnx") == 1
    printed = capsys.readouterr().err
    assert printed.startswith("requant: ONNX Runtime")
    assert printed.count("\n") == 1


@pytest.mark.parametrize(
    ("milliseconds", "text"),
    [((2.0, 1.0), "int8 does not pay here: 2 ms against 1; take float32"), ((1.0, 2.0), "")],
)
def test_measured_times_say_what_pays(milliseconds: tuple[float, ...], text: str) -> None:
    model = SessionTally("cpu", "1.32", (), {PlannedProduct("y", "int8", "int8"): ()}, {}, "a processor")
    result = BuildCheck(model, replace(model, products={}), [], reference="float32", milliseconds=milliseconds)
    assert result.loss == text
    assert str(result.traffic) == "nan"


def test_the_report_has_the_kernels(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["optimize", str(folder / "model.onnx"), "-c", str(folder / "data.npz"), "--recipe", "int8-plain", *BUILD]
    report = tmp_path / "report.json"
    assert run([*command, "-o", str(tmp_path / "out.onnx"), "--report", str(report)]) == 0
    assert "Kernels of onnxruntime" in capsys.readouterr().out
    build = json.loads(report.read_text(encoding="utf-8"))["build"]
    assert [1, 8, 64] in [tensor["shape"] for kernel in build["tally"]["kernels"] for tensor in kernel["inputs"]]
    assert not any("Quantize" in kernel["ops"][0] for kernel in build["baseline"]["kernels"])
    assert ir.load(tmp_path / "out.onnx").graph.name is not None
