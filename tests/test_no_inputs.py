"""Models that take nothing: every verb ends with a result, or with one line."""

from pathlib import Path

import numpy as np
import onnx
import pytest

from requant.cli.run import run

CONSTANT = "y = MatMul (c, w)"
MADE = "r = RandomNormal <shape = [2, 16]> ()  y = MatMul (r, w)"
CODED = """s = Constant <value = float {0.1}> ()  z = Constant <value = int8 {0}> ()
    q = QuantizeLinear (c, s, z)  d = DequantizeLinear (q, s, z)  y = MatMul (d, w)"""


@pytest.fixture(params=[CONSTANT, MADE, CODED], ids=["constant", "made", "coded"])
def model(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    header = '<ir_version: 8, opset_import: ["": 17]> g () => (float[2, 16] y)'
    proto = onnx.parser.parse_model(f"{header} {{ {request.param} }}")
    rng = np.random.default_rng(0)
    for name, shape in (("c", (2, 16)), ("w", (16, 16))):
        weight = rng.standard_normal(shape).astype(np.float32)
        proto.graph.initializer.append(onnx.numpy_helper.from_array(weight, name))
    onnx.save(proto, tmp_path / "model.onnx")
    np.savez(tmp_path / "data.npz", x=np.ones((2, 16), np.float32))
    return str(tmp_path / "model.onnx")


@pytest.mark.parametrize(
    "verb",
    ["inspect MODEL", "check MODEL", "check MODEL --fix", "compare MODEL MODEL", "optimize MODEL",
     "optimize MODEL --recipe int8-weight", "optimize MODEL -c DATA", "compare MODEL MODEL -d DATA"],
)  # fmt: skip
def test_a_model_without_inputs_ends_in_one_line(model: str, verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    paths = {"MODEL": model, "DATA": str(Path(model).with_name("data.npz"))}
    code = run([paths.get(word, word) for word in verb.split()])
    printed = capsys.readouterr()
    assert code in (0, 1, 2, 3)
    if code == 2:
        assert [line for line in printed.err.splitlines() if not line.startswith("warning: ")][1:] == []


@pytest.mark.parametrize("model", [MADE], indirect=True)
def test_data_for_it_are_unknown(model: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["optimize", model, "-c", str(Path(model).with_name("data.npz"))]) == 2
    assert "the model's inputs are []; unknown ['x']" in capsys.readouterr().err
