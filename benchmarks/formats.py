"""The loss and the size of each number format: python -m benchmarks.formats [subject] ...

SQNR as in `benchmarks.accuracy`, of the artifact run as written. Formats for TensorRT: int8 and e4m3, and the recipe
that chooses between them. Weight-only: int4 in blocks, with and without AWQ's scales and GPTQ; their bytes are
integers, scales and zero points over the bytes of these weights in float32.
"""

import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace

import onnx_ir as ir

from requant.ir.formats import INT8_WEIGHT, Format, int4_weight
from requant.ir.load import load
from requant.passes.annotations import layer_records
from requant.recipe import RECIPES, Recipe, weight_only
from requant.runtime.session import runner

from .ablation import Calibrated
from .accuracy import SUBJECTS, Bench, Row, outputs, show

EIGHT, ALONE = ("vit-s", "minilm", "llama"), ("minilm", "llama")
"""The subjects that the first table has unless others are named, and the only ones that the second has."""

BLOCKS = 32, 64, 128
OPSET = 21
EIGHT_BITS = "int8-plain", "int8", "fp8", "mixed8"


@dataclass(frozen=True)
class Variant:
    """A row: a title, a recipe and an engine."""

    title: str
    recipe: Recipe
    target: str


def main(names: list[str]) -> None:
    """Print the tables of the subjects in ``names``, or of `EIGHT`."""
    eight, small = list[Row](), list[Row]()
    for name in names or EIGHT:
        subject = SUBJECTS[name]
        bench = Bench(name, subject, outputs(subject, runner(load(subject.model()))))
        calibrated = Calibrated(subject, OPSET)
        eight += [_row(bench, calibrated, variant) for variant in eight_bits()]
        small += [_row(bench, calibrated, variant) for variant in weight_only_variants() if name in ALONE]
    columns = ("subject", "recipe", "SQNR dB", "score", "nodes added", "layers by format", "bytes of weights")
    show("8 bits, TensorRT", columns, eight)
    show("Weight-only, ONNX Runtime's CPU", columns, small)


def eight_bits() -> Iterator[Variant]:
    """Yield the recipes of 8 bits, and mixed ones without anything else."""
    for name in EIGHT_BITS:
        yield Variant(name, RECIPES[name], "tensorrt")
    yield Variant("fp8, weights to nearest", replace(RECIPES["fp8"], rounding="nearest"), "tensorrt")
    yield Variant("mixed8, no rewrite", replace(RECIPES["mixed8"], rewrites=()), "tensorrt")


def weight_only_variants() -> Iterator[Variant]:
    """Yield int4 in blocks of several sizes, with one part omitted at a time, and int8."""
    for block in BLOCKS:
        for fmt, kind in ((int4_weight(block), "int4"), (int4_weight(block, symmetric=False), "uint4")):
            yield from _parts(f"{kind}, blocks of {block}", fmt)
    yield from _parts("int8", INT8_WEIGHT)


def _parts(title: str, fmt: Format) -> Iterator[Variant]:
    whole = weight_only(title, fmt)
    yield Variant(title, whole, "cpu")
    yield Variant(f"{title}, no AWQ", replace(whole, rewrites=()), "cpu")
    yield Variant(f"{title}, to nearest", replace(whole, rounding="nearest"), "cpu")
    yield Variant(f"{title}, to nearest, no AWQ", replace(whole, rewrites=(), rounding="nearest"), "cpu")


def _row(bench: Bench, calibrated: Calibrated, variant: Variant) -> Row:
    model, nodes = calibrated.lowered(variant.recipe, variant.target)
    run = runner(model)
    counts = Counter(layer.format or "float" for layer in layer_records(model))
    formats = ", ".join(f"{count} {name}" for name, count in counts.items())
    row = bench.row(variant.title, run, bench.sqnr(outputs(bench.subject, run)), str(nodes))
    return (*row, formats, f"{_share(calibrated.model, model):.3f}")


def _share(before: ir.Model, after: ir.Model) -> float:
    """Return the bytes of the quantized weights with their scales and zero points, over their bytes in float32."""
    dequantizers = [node for node in after.graph if node.op_type == "DequantizeLinear" and _constant(node.inputs[0])]
    parts = {value for node in dequantizers for value in node.inputs if _constant(value)}
    names = {(node.inputs[0].name or "").removesuffix(".codes") for node in dequantizers if node.inputs[0] is not None}
    floats = sum(_bytes(before.graph.initializers.get(name)) for name in names)
    return sum(_bytes(value) for value in parts) / floats


def _constant(value: ir.Value | None) -> bool:
    return value is not None and value.const_value is not None


def _bytes(value: ir.Value | None) -> int:
    return value.const_value.nbytes if value is not None and value.const_value is not None else 0


if __name__ == "__main__":
    main(sys.argv[1:])
