"""Export and quantize at once with the exporters of transformers 5: a quantizer for `OnnxConfig`.

python examples/transformers_export.py MODEL TEXTS QUANTIZED

MODEL is a folder or a name on the Hub, TEXTS a file with one text a line, QUANTIZED the folder to write.
"""

import sys
from collections.abc import Iterable
from pathlib import Path

import onnx_ir as ir
from transformers import AutoModelForSequenceClassification, AutoTokenizer
from transformers.exporters import ExportFormat, ExportQuantizer, OnnxConfig, OnnxExporter

import requant


class Requant(ExportQuantizer):  # type: ignore[misc]  # transformers is an extra, known at run time alone
    """Quantizes the exported graph before it is saved; batches hold the arguments of the model's forward."""

    supported_formats = (ExportFormat.ONNX,)

    def __init__(self, calibration: Iterable[object], target: str = "cpu") -> None:
        super().__init__(calibration)
        self.target = target

    def quantize(self, model: ir.Model, sample_inputs: object, export_format: object) -> ir.Model:
        return requant.optimize(model, self.calibration_dataset, target=self.target).model


def main(source: str, texts: str, destination: str) -> None:
    tokenizer = AutoTokenizer.from_pretrained(source)
    calibration = [tokenizer(text, return_tensors="pt") for text in Path(texts).read_text().splitlines()]
    model = AutoModelForSequenceClassification.from_pretrained(source).eval()
    example = dict(tokenizer(["two texts", "of two lengths"], padding=True, return_tensors="pt"))
    exported = OnnxExporter().export(model, example, OnnxConfig(dynamic=True, quantizer=Requant(calibration)))
    exported.save_pretrained(destination)
    tokenizer.save_pretrained(destination)


if __name__ == "__main__":
    main(*sys.argv[1:])
