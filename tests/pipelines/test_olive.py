"""Olive runs the pass of examples/olive_pass.py in a workflow."""

from pathlib import Path

import numpy as np
import onnx
import pytest

import requant
from models import synthetic

pytestmark = [pytest.mark.exporter, pytest.mark.filterwarnings("ignore")]  # its dependencies warn

PACKAGE = {
    "passes": {
        "Requant": {
            "module_path": "examples.olive_pass.Requant",
            "supported_providers": ["*"],
            "supported_accelerators": ["*"],
        }
    }
}


def test_a_workflow_quantizes(tmp_path: Path, examples: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OLIVE_DISABLE_TELEMETRY", "1")
    workflows = pytest.importorskip("olive.workflows")
    monkeypatch.syspath_prepend(examples.parent)
    monkeypatch.chdir(tmp_path)
    spec = synthetic.Transformer(layers=1)
    onnx.save(synthetic.pre_norm(spec), "model.onnx")
    np.savez("data.npz", x=np.concatenate([feed["x"] for feed in synthetic.feeds(spec, 8)]))
    config = {
        "input_model": {"type": "ONNXModel", "model_path": "model.onnx"},
        "passes": {"quantize": {"type": "Requant", "calibration": "data.npz", "target": "cpu"}},
        "output_dir": "quantized",
    }
    workflows.run(config, package_config=PACKAGE)
    assert requant.check("quantized/model.onnx", "cpu") == []
    assert requant.compare("model.onnx", "quantized/model.onnx", "data.npz").outputs["y"].sqnr > 25
