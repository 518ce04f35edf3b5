"""Kernels and traffic of TensorRT-RTX engines, built ahead of time: python -m benchmarks.tally [subject] ...

Of each model in float16 and in the number formats, at several batches, the builder's own list of kernels is read
(`requant.runtime.tally`). Nothing is run: times are a roofline for an L4. Recipes are plain, and a few
samples calibrate: ranges and rounding decide no kernel, and transforms few. Beside these stands what onnxruntime's
`quantize_static` writes with the options that TensorRT takes, in float32. Needs the wheel tensorrt-rtx, no GPU.
"""

import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import onnx
import onnx_ir as ir
from onnxruntime.quantization import QuantType
from rich.console import Console

import requant
from models import synthetic
from models.decoder import decoder, feeds
from models.llama import LLAMA
from models.minilm import MINILM
from models.orientation import ORIENTATION
from models.resnet import resnet50
from models.strangers import STRANGERS
from models.subject import Feed, Subject
from models.vit import VIT_S
from requant.baseline import half_precision
from requant.ir.formats import FP8, INT8, Format
from requant.ir.load import load
from requant.recipe import RECIPES
from requant.result import Precision
from requant.runtime.profiles import Profiles
from requant.runtime.tally import Tally, tally
from requant.runtime.targets import target as find_target
from requant.runtime.trt.roofline import GPUS, microseconds
from requant.tables import table

from .ablation import Calibrated
from .networks import quantized_statically

TARGET = "tensorrt-rtx"
CASES = ((1, "8.9"), (8, "8.9"), (32, "8.9"), (8, "12.0"))
"""Batches and compute capabilities; times are estimated for the second case."""

TOKENS, SAMPLES, OPSET = 128, 6, 21
GPU = GPUS["l4"]

SIZES = {"height": 320, "width": 320}
"""Of dynamic dimensions, by their names; others are `TOKENS`."""

FORMATS: Mapping[str, tuple[str, Precision, Format | None]] = {
    "int8, float16": ("int8", "float16", None),
    "int8, attention in fp8": ("int8", "float16", FP8),
    "int8, attention in int8": ("int8", "float16", INT8),
    "fp8, float16": ("fp8", "float16", None),
    "fp8, attention too": ("fp8", "float16", FP8),
    "int8, float32": ("int8", "float32", None),
    "mixed8, float16": ("mixed8", "float16", None),
    "int8-weight, float16": ("int8-weight", "float16", None),
    "int4-weight, float16": ("int4-weight", "float16", None),
}
"""Each recipe, with the precision of what it leaves in float, and the format of attention."""

STATIC = {
    "per_channel": True,
    "activation_type": QuantType.QInt8,
    "weight_type": QuantType.QInt8,
    "op_types_to_quantize": ["Conv", "Gemm", "MatMul"],
    "extra_options": {
        "ActivationSymmetric": True,
        "WeightSymmetric": True,
        "QuantizeBias": False,
        "OpTypesToExcludeOutputQuantization": ["Conv", "Gemm", "MatMul"],
    },
}
"""The options of `quantize_static` with which TensorRT takes what it writes."""


def main(arguments: list[str]) -> None:
    """Print the table of the subjects in ``arguments``, or of all; "subject:format" is one row."""
    rows = list[tuple[str, ...]]()
    for argument in arguments or SUBJECTS:
        name, _, wanted = argument.partition(":")
        for title, model in artifacts(SUBJECTS[name], wanted):
            row = (name, title, *cells(model))
            print(*row, sep=" | ", file=sys.stderr, flush=True)
            rows.append(row)
    cases = (f"batch {batch}, {capability}" for batch, capability in CASES)
    columns = ("model", "format", *cases, f"µs on {GPU.title}")
    Console(width=140).print(table("TensorRT-RTX, built ahead of time", columns, rows))


def artifacts(subject: Subject, wanted: str = "") -> Iterator[tuple[str, ir.Model]]:
    """Yield the model in float16, the artifact of each format, and that of `quantize_static`; or the ``wanted`` one."""
    few = replace(subject, calibration=lambda: subject.calibration()[:SAMPLES])
    calibrated, engine = Calibrated(few, OPSET), find_target(TARGET)
    if wanted in ("", "float16"):
        yield "float16", half_precision(calibrated.model, engine)
    for title, (name, precision, attention) in FORMATS.items():
        if wanted in ("", title):
            body = ir.DataType.FLOAT16 if precision == "float16" else ir.DataType.FLOAT
            model, _ = calibrated.lowered(RECIPES[name].plain, TARGET, body, attention)
            yield title, half_precision(model, engine) if precision == "float16" else model
    if wanted in ("", "quantize_static"):
        written = quantized_statically(onnx_model(subject), few.calibration(), **STATIC)
        if written:
            yield "quantize_static", load(written)


def onnx_model(subject: Subject) -> onnx.ModelProto:
    """Return the model of ``subject`` in memory."""
    source = subject.model()
    return source if isinstance(source, onnx.ModelProto) else onnx.load(source)


def cells(model: ir.Model) -> Iterator[str]:
    """Yield kernels and traffic in each of `CASES`, and the estimate."""
    tallies = [counted(model, batch, capability) for batch, capability in CASES]
    yield from (item if isinstance(item, str) else f"{len(item.kernels)} / {item.megabytes:.0f}" for item in tallies)
    yield "" if isinstance(tallies[1], str) else f"{microseconds(tallies[1].kernels, GPU):.0f}"


def counted(model: ir.Model, batch: int, capability: str) -> Tally | str:
    """Count the kernels at ``batch``, or say why there is no engine."""
    try:
        return tally(model, TARGET, capability=capability, profiles=shapes(model, batch))
    except requant.BuildError as error:
        return str(error)[:60]


def shapes(model: ir.Model, batch: int) -> Profiles:
    """Return one shape for each input: its first dimension is the batch, other dynamic ones are `TOKENS`."""

    def sizes(value: ir.Value) -> tuple[int, ...]:
        dims = enumerate(value.shape or ())
        return tuple(dim if isinstance(dim, int) else _dynamic(dim) if axis else batch for axis, dim in dims)

    return {value.name or "": (sizes(value),) * 3 for value in model.graph.inputs}


def _dynamic(dim: ir.SymbolicDim) -> int:
    return SIZES.get(dim.value or "", TOKENS)


def synthetic_subject(name: str, model: Callable[[], onnx.ModelProto]) -> Subject:
    """Make a subject of a model with random weights, which reads noise."""

    def feeds() -> list[Feed]:
        return [dict(feed) for feed in synthetic.feeds(model(), SAMPLES)]

    return Subject(name, model, feeds, feeds, lambda predict: {})


def random_subject(
    name: str, model: Callable[[], Path | onnx.ModelProto], feeds: Callable[[int], list[Feed]]
) -> Subject:
    """Make a subject of a model whose data are noise."""
    return Subject(name, model, lambda: feeds(SAMPLES), lambda: feeds(SAMPLES), lambda predict: {})


def vit_b() -> onnx.ModelProto:
    """Make a ViT-B/16 encoder with all of its twelve layers."""
    return synthetic.pre_norm(synthetic.Transformer(768, 12, 12, hidden=3072, tokens=197))


SUBJECTS = {
    "vit-s": VIT_S,
    "minilm": MINILM,
    "vit-b": synthetic_subject("vit-b", vit_b),
    "llama": LLAMA,
    "decoder": random_subject("decoder", decoder, feeds),
    "resnet50": synthetic_subject("resnet50", resnet50),
    "orientation": ORIENTATION,
    "yolov8": random_subject("yolov8", STRANGERS["YOLOv8"].model, STRANGERS["YOLOv8"].feeds),
}


if __name__ == "__main__":
    main(sys.argv[1:])
