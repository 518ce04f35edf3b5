"""`requant check --fix` on the command line, and `requant.fix`."""

import json
from pathlib import Path

import onnx
import onnx_ir as ir
import pytest
from onnx.external_data_helper import set_external_data

from requant import fix
from requant.cli.run import run
from tests.runtime.check_graphs import INT8, UINT8, M, W, Y, graph, qdq


def write(body: str, folder: Path) -> Path:
    ir.save(graph(body), folder / "model.onnx")
    return folder / "model.onnx"


def test_no_findings_left_is_exit_code_0(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = write(UINT8 + W + Y, tmp_path)
    before = model.read_bytes()
    assert run(["check", str(model)]) == 1
    assert run(["check", str(model), "--fix"]) == 0
    printed = capsys.readouterr()
    assert "wrote" in printed.err
    assert "tensorrt will run it as intended" in printed.out
    assert run(["check", str(tmp_path / "model.fixed.onnx")]) == 0
    assert model.read_bytes() == before


def test_remaining_findings_are_exit_code_1_and_are_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model, out = write(qdq("i5") + W + M + qdq("i0", "m", "md") + "y = Relu (md)", tmp_path), tmp_path / "out.onnx"
    assert run(["check", str(model), "-t", "tensorrt", "--fix", "-o", str(out), "--json"]) == 1
    said = json.loads(capsys.readouterr().out)
    assert [(item["rule"], item["exact"]) for item in said["fixes"]] == [("quantized-output", False)]
    assert [item["rule"] for item in said["findings"]] == ["zero-point"]
    assert said["findings"][0]["fix"] == "quantize symmetrically: int8 with zero point 0"
    onnx.checker.check_model(out)
    assert run(["check", str(model), "-t", "tensorrt", "--fix", "-o", str(out)]) == 1
    assert "Fixed: 1" in (table := capsys.readouterr().out)
    assert "Findings for tensorrt: 1" in table


def test_the_input_is_never_overwritten(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = write(UINT8 + W + Y, tmp_path)
    before = model.read_bytes()
    assert run(["check", str(model), "--fix", "-o", str(model)]) == 2
    assert "is the input" in capsys.readouterr().err
    assert model.read_bytes() == before


def test_nor_are_its_weights(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    proto = ir.to_proto(graph(UINT8 + W + Y))
    weight = max(proto.graph.initializer, key=lambda tensor: len(tensor.raw_data))
    (tmp_path / "w.bin").write_bytes(weight.raw_data)
    set_external_data(weight, "w.bin", offset=0, length=len(weight.raw_data))
    weight.ClearField("raw_data")
    (tmp_path / "model.onnx").write_bytes(proto.SerializeToString())
    assert run(["check", str(tmp_path / "model.onnx"), "--fix", "-o", str(tmp_path / "w.bin")]) == 2
    assert "is the input" in capsys.readouterr().err
    assert run(["check", str(tmp_path / "model.onnx"), "--fix"]) == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-o", "{}/out.onnx"], "--output needs --fix"),
        (["--fix", "-o", "{}/absent/out.onnx"], "does not exist"),
        (["--fix", "-t", "tpu"], "tpu"),
    ],
)
def test_bad_usage(arguments: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = write(UINT8 + W + Y, tmp_path)
    assert run(["check", str(model), *(word.format(tmp_path) for word in arguments)]) == 2
    printed = capsys.readouterr()
    assert (message in printed.err, printed.out, len(printed.err.strip().splitlines())) == (True, "", 1)
    assert [path.name for path in tmp_path.iterdir()] == ["model.onnx"]


def test_many_findings_of_a_rule_are_one_row(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pairs = "".join(qdq(f"i{zero}", "x", f"v{number}", "s" if number else "s2") for number, zero in enumerate("5555"))
    model = write(pairs + INT8 + W + M + "y = Concat <axis = 1> (v0, v1, v2, v3, m)", tmp_path)
    assert run(["check", str(model)]) == 1
    printed = capsys.readouterr().out
    assert "Findings for tensorrt: 4" in printed
    assert printed.count("zero-point") == 1
    assert "v0q, v1q, v2q and 1" in printed
    assert run(["check", str(model), "--json"]) == 1
    assert len(json.loads(capsys.readouterr().out)) == 4


def test_in_python_nothing_needs_to_be_written(tmp_path: Path) -> None:
    source = graph(INT8 + W + M + qdq("i0", "m", "y"))
    model, fixes, findings = fix(source, "tensorrt")
    assert (len(model.graph), [item.rule for item in fixes], findings) == (5, ["quantized-output"], [])
    assert list(tmp_path.iterdir()) == []
