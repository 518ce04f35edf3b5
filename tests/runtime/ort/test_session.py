"""Sessions: a missing engine, a model that does not load, and weights too large for one protobuf."""

import importlib
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import onnx
import onnx_ir as ir
import pytest

import requant
from models import synthetic
from requant.runtime.session import runner, session

SPEC = synthetic.Transformer(layers=1)
FEEDS = synthetic.feeds(SPEC, 2)


TELEMETRY = """
import os, onnxruntime
told = []
onnxruntime.disable_telemetry_events = lambda: told.append(1)
from requant.runtime.session import engine
engine(), engine()
print(len(told), os.environ["ORT_DISABLE_TELEMETRY"])
"""


@pytest.mark.slow
@pytest.mark.parametrize(("setting", "printed"), [(None, "1 1"), ("1", "1 1"), ("0", "0 0")])
def test_telemetry_is_off_unless_the_user_says_otherwise(setting: str | None, printed: str) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "ORT_DISABLE_TELEMETRY"}
    environment |= {"ORT_DISABLE_TELEMETRY": setting} if setting is not None else {}
    process = subprocess.run(
        [sys.executable, "-c", TELEMETRY], env=environment, capture_output=True, text=True, check=True
    )
    assert process.stdout.split() == printed.split()


def test_without_onnxruntime_one_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str, package: str | None = None) -> ModuleType:
        raise ImportError(name)

    monkeypatch.setattr(importlib, "import_module", absent)
    with pytest.raises(requant.TargetError, match=r"pip install 'requant\[cpu\]'") as caught:
        requant.optimize(synthetic.pre_norm(SPEC), FEEDS)
    assert len(str(caught.value).splitlines()) == 1


def test_a_model_that_the_engine_refuses_is_one_line() -> None:
    text = '<ir_version: 8, opset_import: ["": 17]> g (float[2] x) => (float[2] y) { y = Relu(x) }'
    model = ir.from_proto(onnx.parser.parse_model(text))
    model.graph[0].op_type = "Nonsense"
    with pytest.raises(requant.SourceError, match="Nonsense") as caught:
        session(model)
    assert len(str(caught.value).splitlines()) == 1


def test_data_that_the_engine_cannot_run_are_one_line_and_nothing_else(capfd: pytest.CaptureFixture[str]) -> None:
    text = """<ir_version: 8, opset_import: ["": 17]> g (int64[1] i) => (float[1] y) <float[2] t = {1, 2}>
        { y = Gather(t, i) }"""
    run = runner(ir.from_proto(onnx.parser.parse_model(text)))
    with pytest.raises(requant.SourceError, match=r"ONNX Runtime cannot run the model: .*out of data bounds") as caught:
        run({"i": np.array([7])})
    assert len(str(caught.value).splitlines()) == 1
    assert capfd.readouterr() == ("", ""), "the engine's own log is for its developers"


def test_taps_come_after_the_outputs() -> None:
    text = '<ir_version: 8, opset_import: ["": 17]> g (float[2] x) => (float[2] y) { m = Neg(x) y = Relu(m) }'
    model = ir.from_proto(onnx.parser.parse_model(text))
    y, m = runner(model, ["m"])({"x": np.array([-1, 2], np.float32)})
    np.testing.assert_array_equal(y, [1, 0])
    np.testing.assert_array_equal(m, [1, -2])
    assert len(model.graph.outputs) == 1


def test_models_beyond_the_limit_of_protobuf_pass_through(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    onnx.save(synthetic.pre_norm(SPEC), tmp_path / "model.onnx", save_as_external_data=True, location="weights.bin")
    small = requant.optimize(tmp_path / "model.onnx", FEEDS, output=tmp_path / "small.onnx")
    for module in ("requant.ir.save", "requant.runtime.model_file"):
        monkeypatch.setattr(sys.modules[module], "INLINE_LIMIT", 1000)
    large = requant.optimize(tmp_path / "model.onnx", FEEDS, output=tmp_path / "large.onnx")
    assert (tmp_path / "large.onnx.data").stat().st_size > 1000
    assert not (tmp_path / "small.onnx.data").exists()
    assert large.report.outputs == small.report.outputs
    same = requant.compare(tmp_path / "small.onnx", tmp_path / "large.onnx", FEEDS)
    assert same.outputs["y"].max_error == 0
