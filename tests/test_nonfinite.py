"""No artifact computes NaN or infinity where the float model does not, and no JSON holds either."""

import importlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

import requant
from requant.cli.run import run
from requant.errors import VerificationError
from requant.plain import dumps
from requant.runtime.compare import Comparison, compare
from requant.runtime.distance import Distance


def logarithm() -> onnx.ModelProto:
    """The logarithm of a product that is large but for one column, which int8 inputs compute as 0."""
    weight = np.eye(32, dtype=np.float32)
    weight[0, 0] = 1.0
    proto = onnx.parser.parse_model(
        """<ir_version: 8, opset_import: ["" : 17]> g (float[b,32] x) => (float[b,32] y)
        { m = MatMul(x, w) y = Log(m) }"""
    )
    proto.graph.initializer.append(onnx.numpy_helper.from_array(weight, "w"))
    return proto


def positive() -> np.ndarray:
    data = np.random.default_rng(0).uniform(50, 100, (64, 32)).astype(np.float32)
    data[:, 0] = 0.01
    return data


def test_an_artifact_that_computes_infinity_is_not_written(tmp_path: Path) -> None:
    output = tmp_path / "out.onnx"
    with pytest.raises(VerificationError, match=r"NaN or infinity at \d+ elements of output 'y' where the float model"):
        requant.optimize(logarithm(), {"x": positive()}, "int8-plain", "tensorrt", output=output)
    assert not output.exists()


def test_a_default_session_counts_for_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its kernels may round data again, depending on version and processor, so one that makes infinity is feigned."""
    module = importlib.import_module("requant.stages.measure")

    def feigned(*arguments: Any, optimized: bool = False, **options: Any) -> Comparison:
        infinite = Distance(-200.0, 0.0, 0.0, -200.0, nonfinite=1)
        return Comparison({"y": infinite}) if optimized else compare(*arguments, **options)

    monkeypatch.setattr(module, "compare", feigned)
    data = {"x": np.random.default_rng(0).uniform(50, 100, (64, 32)).astype(np.float32)}
    requant.optimize(logarithm(), data, "int8-plain", "tensorrt")
    with pytest.raises(VerificationError, match="in a default session; nothing was written"):
        requant.optimize(logarithm(), data, "int8-plain", "cpu")


def test_the_command_line_exits_with_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    onnx.save(logarithm(), tmp_path / "log.onnx")
    np.savez(tmp_path / "data.npz", x=positive())
    arguments = ["optimize", "log.onnx", "-c", "data.npz", "-t", "tensorrt", "--recipe", "int8-plain", "-o", "out.onnx"]
    paths = [str(tmp_path / word) if word.endswith((".onnx", ".npz")) else word for word in arguments]
    assert run(paths) == 1
    assert "computes NaN or infinity" in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data.npz", "log.onnx"]


def test_json_has_no_word_for_what_is_not_finite() -> None:
    plain = {"a": [1.5, float("nan")], "b": (float("inf"), 2), "c": {"d": -float("inf")}}
    assert json.loads(dumps(plain)) == {"a": [1.5, None], "b": [None, 2], "c": {"d": None}}
