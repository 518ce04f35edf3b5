"""A model folder that optimum exported becomes a quantized one: python examples/hugging_face.py FOLDER TEXTS QUANTIZED

FOLDER is what `optimum-cli export onnx` wrote, TEXTS a file with one text a line, QUANTIZED the folder to write.
"""

import shutil
import sys
from pathlib import Path

from transformers import AutoTokenizer

import requant

source, texts, destination = map(Path, sys.argv[1:])
tokenizer = AutoTokenizer.from_pretrained(source)
calibration = [tokenizer(text, return_tensors="np") for text in texts.read_text().splitlines()]
shutil.copytree(source, destination, ignore=shutil.ignore_patterns("*.onnx*"))
result = requant.optimize(source / "model.onnx", calibration, target="cpu", output=destination / "model.onnx")
for name, distance in result.report.outputs.items():
    print(f"{name}: {distance.sqnr:.1f} dB against the float model")
