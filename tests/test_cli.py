"""The command line as a user meets it: exit codes, one line for what is wrong, nothing left behind."""

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx.external_data_helper import set_external_data

from models import synthetic
from requant.cli.run import run
from requant.runtime.price_tables import VNNI

SPEC = synthetic.Transformer(layers=1)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    onnx.save(synthetic.pre_norm(SPEC), tmp_path / "model.onnx")
    np.savez(tmp_path / "data.npz", x=np.concatenate([feed["x"] for feed in synthetic.feeds(SPEC, 4)]))
    return tmp_path


def optimize(folder: Path, *more: str, model: str = "model.onnx", data: str = "data.npz") -> int:
    out = folder / "out.onnx"
    return run(["optimize", str(folder / model), "-c", str(folder / data), "-o", str(out), *more])


def test_optimize_writes_a_model_and_a_report(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert (
        optimize(folder, "-t", "tensorrt", "--precision", "float32", "--report", str(folder / "report.json"), "--json")
        == 0
    )
    printed = capsys.readouterr()
    assert json.loads(printed.out) | {"times": 0} == json.loads((folder / "report.json").read_text()) | {"times": 0}
    assert "wrote" in printed.err
    assert run(["check", str(folder / "out.onnx"), "-t", "tensorrt"]) == 0
    assert run(["compare", str(folder / "model.onnx"), str(folder / "out.onnx"), "-d", str(folder / "data.npz")]) == 0
    assert "dB" in capsys.readouterr().out


def test_compare_without_data_tells_no_accuracy(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model, out = str(folder / "model.onnx"), str(folder / "out.onnx")
    assert optimize(folder, "--recipe", "int8-plain") == 0
    capsys.readouterr()
    assert run(["compare", model, out]) == 0
    printed = capsys.readouterr().out
    assert "dB" not in printed
    assert "random inputs say nothing about the accuracy" in printed
    for other, equal in ((model, True), (out, False)):
        assert run(["compare", model, other, "--json"]) == 0
        found = json.loads(capsys.readouterr().out)
        assert not found["outputs"]
        assert not found["layers"]
        assert found["agreements"]["y"] == {"shape": [1, 32, 64], "finite": True, "equal": equal}


def test_half_io_makes_inputs_and_outputs_halves(folder: Path) -> None:
    for flags, dtype in ((), onnx.TensorProto.FLOAT), (("--half-io",), onnx.TensorProto.FLOAT16):
        assert optimize(folder, "-t", "tensorrt", "--precision", "float16", *flags) == 0
        graph = onnx.load(folder / "out.onnx").graph
        assert {value.type.tensor_type.elem_type for value in (*graph.input, *graph.output)} == {dtype}
    assert optimize(folder, "--half-io") == 2, "float32 is no half"


def test_check_exits_with_1_when_it_finds_something(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert optimize(folder) == 0
    capsys.readouterr()
    assert run(["check", str(folder / "out.onnx"), "-t", "tensorrt", "--json"]) == 1
    assert {"zero-point", "uint8-activation"} <= {finding["rule"] for finding in json.loads(capsys.readouterr().out)}


def test_inspect_and_bench_print_tables_and_json(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = str(folder / "model.onnx")
    assert run(["inspect", model]) == 0
    assert "LayerNorm" in capsys.readouterr().out
    assert run(["inspect", model, "--json"]) == 0
    kinds = [site["kind"] for site in json.loads(capsys.readouterr().out)["sites"]]
    assert kinds == ["LayerNorm", "QK", "Attention", "LayerNorm", "LayerNorm"]
    assert run(["bench", model, model, "-d", str(folder / "data.npz"), "--runs", "2", "--json"]) == 0
    assert [latency["runs"] for latency in json.loads(capsys.readouterr().out)] == [2, 2]


def test_inspect_says_why_a_near_match_is_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    graph = """(float[B, 4, 3] x, float[4] g) => (float[B, 4, 3] y) <float[4] b, float[4] m, float[4] v>
        { n = BatchNormalization(x, g, b, m, v) y = Relu(n) }"""
    proto = onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["": 17]> g {graph}')
    for name in ("b", "m", "v"):
        proto.graph.initializer.append(onnx.numpy_helper.from_array(np.ones(4, np.float32), name))
    onnx.save(proto, tmp_path / "model.onnx")
    told = "is left as it is: its parameters are computed at run time"
    for arguments, lines in ((["--verbose"], 1), ([], 0), (["--verbose", "--json"], 1)):
        assert run(["inspect", str(tmp_path / "model.onnx"), *arguments]) == 0
        printed = capsys.readouterr()
        assert printed.err.count(told) == lines
        assert told not in printed.out


def test_without_data_the_warning_reaches_stderr(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["optimize", str(folder / "model.onnx"), "-o", str(folder / "out.onnx"), "--json"]) == 0
    printed = capsys.readouterr()
    assert "no calibration data" in printed.err
    json.loads(printed.out)


def external(folder: Path, change: Callable[[onnx.TensorProto], None]) -> None:
    """Save the model with its largest weight outside, then tell a lie about it."""
    model = synthetic.pre_norm(SPEC)
    weight = max(model.graph.initializer, key=lambda tensor: len(tensor.raw_data))
    (folder / "w.bin").write_bytes(weight.raw_data)
    set_external_data(weight, "w.bin", offset=0, length=len(weight.raw_data))
    weight.ClearField("raw_data")
    change(weight)
    (folder / "model.onnx").write_bytes(model.SerializeToString())


def located(path: str) -> Callable[[onnx.TensorProto], None]:
    def change(weight: onnx.TensorProto) -> None:
        next(entry for entry in weight.external_data if entry.key == "location").value = path

    return change


def replace_by_folder(folder: Path) -> None:
    (folder / "model.onnx").unlink()
    (folder / "model.onnx").mkdir()


def truncate(folder: Path) -> None:
    data = (folder / "model.onnx").read_bytes()
    (folder / "model.onnx").write_bytes(data[: len(data) // 2])


def poison(folder: Path) -> None:
    model = synthetic.pre_norm(SPEC)
    weight = max(model.graph.initializer, key=lambda tensor: len(tensor.raw_data))
    data = onnx.numpy_helper.to_array(weight).copy()
    data.flat[3] = np.nan
    weight.raw_data = data.tobytes()
    onnx.save(model, folder / "model.onnx")


def unknown_op(folder: Path) -> None:
    model = synthetic.pre_norm(SPEC)
    model.graph.node[-1].op_type = "Frobnicate"
    onnx.save(model, folder / "model.onnx")


def short(folder: Path) -> None:
    external(folder, lambda weight: None)
    (folder / "w.bin").write_bytes(b"1234")


def data(array: np.ndarray, name: str = "x") -> Callable[[Path], None]:
    named: dict[str, Any] = {name: array}  # beside the names, savez has arguments of other types
    return lambda folder: np.savez(folder / "data.npz", **named)


def quantize_first(folder: Path) -> None:
    assert optimize(folder) == 0
    os.replace(folder / "out.onnx", folder / "model.onnx")


GOOD = np.zeros((2, 16, 64), np.float32)
BAD_INPUT: dict[str, tuple[Callable[[Path], object], list[str], str]] = {
    "no such model": (lambda folder: (folder / "model.onnx").unlink(), [], "no such file"),
    "model is a folder": (replace_by_folder, [], "is a folder"),
    "truncated model": (truncate, [], "model.onnx"),
    "not a model": (lambda folder: (folder / "model.onnx").write_text("hello"), [], "not an ONNX model"),
    "empty model": (lambda folder: (folder / "model.onnx").write_bytes(b""), [], "has no graph"),
    "weights file missing": (lambda folder: external(folder, located("absent.bin")), [], "'absent.bin' is missing"),
    "weights outside the folder": (
        lambda folder: external(folder, located("../w.bin")),
        [],
        "outside the model's folder",
    ),
    "weights at an absolute path": (lambda folder: external(folder, located("/etc/passwd")), [], "outside the model's"),
    "weights too short": (short, [], "is too short"),
    "NaN weights": (poison, [], "holds NaN"),
    "unknown op": (unknown_op, [], "Frobnicate"),
    "quantized already": (quantize_first, [], "is quantized already"),
    "output is the input": (lambda folder: None, ["-o", "{folder}/model.onnx"], "is the input"),
    "output is the input's weights": (
        lambda folder: external(folder, lambda weight: None),
        ["-o", "{folder}/w.bin"],
        "is the input",
    ),
    "output folder missing": (lambda folder: None, ["-o", "{folder}/absent/out.onnx"], "does not exist"),
    "report of another kind": (lambda folder: None, ["--report", "{folder}/report.txt"], "ends in .json or .html"),
    "unknown target": (lambda folder: None, ["-t", "tpu"], "tpu"),
    "keep that matches nothing": (lambda folder: None, ["--keep", "*/fc9/*"], "'*/fc9/*', which keep asks for"),
    "unknown option": (lambda folder: None, ["--fast"], "--fast"),
    "data missing": (lambda folder: (folder / "data.npz").unlink(), [], "no such file or folder"),
    "data not an npz": (lambda folder: (folder / "data.npz").write_text("hello"), [], "not an .npz"),
    "data with another name": (data(GOOD, "z"), [], "missing ['x']; unknown ['z']"),
    "data of another rank": (data(GOOD[..., 0]), [], "has 2 dimensions, but the model takes 3"),
    "data of another width": (data(GOOD[..., :8]), [], "has size 8 along axis 2, but the model takes 64"),
    "data of another type": (data(GOOD.astype(np.complex64)), [], "is complex64, but the model takes float32"),
    "data with NaN": (data(GOOD * np.nan), [], "holds NaN"),
    "no samples": (data(GOOD[:0]), [], "holds no samples"),
}


@pytest.mark.parametrize(("spoil", "more", "message"), BAD_INPUT.values(), ids=BAD_INPUT.keys())
def test_bad_input_gets_one_line_and_exit_code_2_and_leaves_nothing_behind(
    folder: Path,
    capsys: pytest.CaptureFixture[str],
    spoil: Callable[[Path], object],
    more: list[str],
    message: str,
) -> None:
    spoil(folder)
    capsys.readouterr()
    before = {path: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    assert optimize(folder, *(word.format(folder=folder) for word in more)) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert len(printed.err.strip().splitlines()) == 1
    assert message in printed.err
    assert "Traceback" not in printed.err
    assert {path: path.read_bytes() for path in folder.iterdir() if path.is_file()} == before


def test_no_command_is_bad_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert run([]) == 2
    assert capsys.readouterr().err == "requant: Missing command. (see requant --help)\n"


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--help"]) == 0
    text = capsys.readouterr().out
    assert all(command in text for command in ("optimize", "inspect", "compare", "check", "bench"))


def test_nothing_quantized_exits_with_3_and_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    proto = onnx.parser.parse_model(
        '<ir_version: 8, opset_import: ["" : 17]> g (float[b,4] x) => (float[b,4] y) { y = Relu(x) }'
    )
    onnx.save(proto, tmp_path / "relu.onnx")
    np.savez(tmp_path / "data.npz", x=np.ones((8, 4), np.float32))
    arguments = ["optimize", str(tmp_path / "relu.onnx"), "-c", str(tmp_path / "data.npz")]
    assert run([*arguments, "-o", str(tmp_path / "out.onnx"), "--json"]) == 3
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("requant: ")]
    assert len(lines) == 1
    assert "relu.onnx: nothing to quantize" in lines[0]


def test_prices_are_measured_and_written(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("requant.pricing.measure_prices.measure", lambda engine, source: replace(VNNI, source=source))
    path = folder / "prices.json"
    assert run(["prices", "-o", str(path)]) == 0
    printed = capsys.readouterr()
    assert f"wrote {path}" in printed.err
    assert "Conv 1x1, int8" in printed.out
    assert run(["prices", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == json.loads(path.read_text())
    assert optimize(folder, "--prices", str(path), "--recipe", "int8-plain") == 0


def test_a_file_that_is_no_price_table_is_bad_input(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = folder / "prices.json"
    path.write_text('{"source": "a test", "nanoseconds": {}}')
    assert optimize(folder, "--prices", str(path)) == 2
    lines = capsys.readouterr().err.splitlines()
    assert [line for line in lines if "prices.json" in line] == lines
    assert "nanoseconds has no border, Conv" in lines[0]
    assert optimize(folder, "--prices", str(folder / "none.json")) == 2
    assert optimize(folder, "-t", "tensorrt", "--prices", str(path)) == 2
    assert not (folder / "out.onnx").exists()
