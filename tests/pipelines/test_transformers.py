"""Transformers' own exporters: one class makes requant a quantizer of theirs."""

import runpy
from pathlib import Path

import pytest

import requant

transformers = pytest.importorskip("transformers")
exporters = pytest.importorskip("transformers.exporters")
pytestmark = [pytest.mark.exporter, pytest.mark.filterwarnings("ignore")]  # the exporters warn about themselves


def test_a_model_is_exported_and_quantized_into_a_folder_that_transformers_loads(
    pretrained: Path, text_file: Path, texts: list[str], examples: Path, tmp_path: Path
) -> None:
    runpy.run_path(str(examples / "transformers_export.py"))["main"](str(pretrained), str(text_file), str(tmp_path))
    assert {"config.json", "model.onnx", "tokenizer.json"} <= {path.name for path in tmp_path.iterdir()}
    assert requant.check(tmp_path / "model.onnx", "cpu") == []
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path)
    batch = tokenizer(texts[-16:], padding=True, return_tensors="pt")
    exact = transformers.AutoModelForSequenceClassification.from_pretrained(pretrained)(**batch).logits
    coded = exporters.ExportedModel.from_pretrained(tmp_path)(**batch).logits
    assert ((exact - coded) ** 2).sum() < 0.01 * (exact**2).sum()
