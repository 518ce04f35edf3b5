"""From optimum's export to a folder that its ORTModel classes load."""

import runpy
import sys
from pathlib import Path

import pytest

import requant

optimum = pytest.importorskip("optimum.onnxruntime")
pytestmark = [pytest.mark.exporter, pytest.mark.filterwarnings("ignore")]  # the exporters warn about themselves

TASKS = {
    "text-classification": ("ORTModelForSequenceClassification", "logits"),
    "feature-extraction": ("ORTModelForFeatureExtraction", "last_hidden_state"),
}


@pytest.mark.parametrize("task", TASKS)
def test_an_exported_folder_becomes_a_quantized_one(
    task: str,
    pretrained: Path,
    text_file: Path,
    texts: list[str],
    examples: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from optimum.exporters.onnx import main_export
    from transformers import AutoTokenizer

    exported, quantized = tmp_path / "float", tmp_path / "int8"
    main_export(str(pretrained), exported, task=task)
    monkeypatch.setattr(sys, "argv", ["hugging_face.py", str(exported), str(text_file), str(quantized)])
    runpy.run_path(str(examples / "hugging_face.py"), run_name="__main__")
    assert {path.name for path in quantized.iterdir()} == {path.name for path in exported.iterdir()}
    assert requant.check(quantized / "model.onnx", "cpu") == []
    (quantized / "model_quantized.onnx").write_bytes((quantized / "model.onnx").read_bytes())

    kind, output = TASKS[task]
    batch = AutoTokenizer.from_pretrained(quantized)(texts[-16:], padding=True, return_tensors="pt")
    exact = getattr(optimum, kind).from_pretrained(exported)(**batch)[output]
    for name in ("model.onnx", "model_quantized.onnx"):
        coded = getattr(optimum, kind).from_pretrained(quantized, file_name=name)(**batch)[output]
        assert 0 < ((exact - coded) ** 2).sum() < 0.01 * (exact**2).sum()
    assert (quantized / "model.onnx").stat().st_size < 0.6 * (exported / "model.onnx").stat().st_size
