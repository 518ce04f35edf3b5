"""How close W8A8 models stay to the float ones: python -m benchmarks.accuracy [vit-s] [minilm] [orientation] [llama]

Symmetric int8 with zero point 0, one scale for a tensor of activations and one for each output channel of a weight: the
TensorRT artifact, run by ONNX Runtime with its optimizations off. SQNR = 10 log10( Σ y² / Σ (y - ŷ)² ) dB of the
model's output on each evaluation sample; the table has its mean over the samples and the standard error.

A second part says what each piece of the recipe is worth (`benchmarks.ablation`); --quick leaves it out. The last table
compares what one calibration gave for two engines: the difference of two outputs relative to the size of
the float one, ‖a - b‖ / ‖y‖, as the mean over samples.
"""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

import requant
from models.llama import LLAMA
from models.minilm import MINILM
from models.orientation import ORIENTATION
from models.subject import Subject
from models.vit import VIT_S
from requant.ir.load import load
from requant.passes.annotations import layer_records
from requant.passes.records import LayerRecord
from requant.runtime.distance import distance
from requant.runtime.session import Run, runner
from requant.tables import table

from .ablation import Calibrated, recipes, six_bits

Outputs: TypeAlias = list[NDArray[np.generic]]
Row: TypeAlias = tuple[str, ...]

SUBJECTS = {"vit-s": VIT_S, "minilm": MINILM, "orientation": ORIENTATION, "llama": LLAMA}
AFTER_GELU = {"vit-s": "*/mlp/fc2/*", "minilm": "/encoder/layer.[0-9]/output/dense/MatMul"}
RECIPES = {"plain": "int8-plain", "requant": "int8"}


@dataclass(frozen=True)
class Bench:
    """A subject with the float model's outputs on its evaluation samples."""

    name: str
    subject: Subject
    expected: Outputs

    def quantized(self, recipe: str, keep: tuple[str, ...]) -> requant.Result:
        """The subject, calibrated and lowered for TensorRT."""
        return requant.optimize(self.subject.model(), self.subject.calibration, recipe, "tensorrt", keep)

    def row(self, variant: str, run: Run, sqnr: str = "", share: str = "") -> Row:
        """A row of the first table, with the subject's own score."""
        score = ", ".join(f"{name} {value:.4f}" for name, value in self.subject.score(run).items())
        row = self.name, variant, sqnr, score, share
        print(*row, sep=" | ", file=sys.stderr, flush=True)  # tables come at the end, and that may take an hour
        return row

    def sqnr(self, found: Outputs) -> str:
        """Mean and standard error over samples."""
        values = [distance(y, z).sqnr for y, z in zip(self.expected, found, strict=True)]
        return f"{np.mean(values):.1f} ± {np.std(values, ddof=1) / len(values) ** 0.5:.1f}"

    def apart(self, a: Outputs, b: Outputs) -> str:
        """How far two models' outputs are from each other."""
        norm, triples = np.linalg.norm, zip(a, b, self.expected, strict=True)
        return f"{np.mean([norm(np.subtract(x, z)) / norm(y) for x, z, y in triples]):.1e}"

    def both_engines(self, result: requant.Result, tensorrt: Outputs) -> Row:
        """The same plan lowered for ONNX Runtime's CPU: as written against TensorRT's, then in a default session."""
        cpu = result.lower("cpu")
        written, default = (outputs(self.subject, runner(cpu, optimized=flag)) for flag in (False, True))
        apart = self.apart(written, tensorrt), self.apart(default, written)
        return share(layer_records(cpu)), *apart, self.sqnr(default)


def main(names: list[str]) -> None:
    """Print the tables of the subjects in ``names``, or of all; "--quick" leaves out the ablation."""
    quick = "--quick" in names
    names = [name for name in names if name != "--quick"]
    scores: list[Row] = []
    parts: list[Row] = []
    left: list[Row] = []
    engines: list[Row] = []
    for name in names or SUBJECTS:
        subject = SUBJECTS[name]
        run = runner(load(subject.model()))
        bench = Bench(name, subject, outputs(subject, run))
        scores.append(bench.row("float", run))
        for variant, recipe, keep in variants(name):
            result = bench.quantized(recipe, keep)
            run, layers = runner(result.model), result.report.layers
            found = outputs(subject, run)
            scores.append(bench.row(variant, run, bench.sqnr(found), share(layers)))
            if not keep:
                engines.append((name, variant, *bench.both_engines(result, found)))
                left += [(name, variant, layer.name, layer.reason) for layer in layers if layer.reason]
        if not quick:
            parts += ablation(bench)
    show("Against the float model", ("subject", "model", "SQNR dB", "score", "int8 layers"), scores)
    show("What each part is worth", ("subject", "recipe", "SQNR dB", "score", "nodes added"), parts)
    show("Left in float", ("subject", "model", "layer", "reason"), left)
    columns = ("int8 layers on cpu", "cpu from tensorrt", "cpu default session from as written", "its SQNR dB")
    show("One calibration, two engines", ("subject", "model", *columns), engines)


def ablation(bench: Bench) -> Iterator[Row]:
    """A row for each recipe of `benchmarks.ablation`."""
    calibrated = Calibrated(bench.subject)
    for title, recipe in (*recipes(), *six_bits()):
        model, nodes = calibrated.lowered(recipe)
        run = runner(model)
        yield bench.row(title, run, bench.sqnr(outputs(bench.subject, run)), str(nodes))


def variants(name: str) -> Iterator[tuple[str, str, tuple[str, ...]]]:
    """What is measured of a subject: a title, a recipe and what to keep."""
    for title, recipe in RECIPES.items():
        yield title, recipe, ()
    if name in AFTER_GELU:
        for title, recipe in RECIPES.items():
            yield f"{title}, float after GELU", recipe, (AFTER_GELU[name],)


def outputs(subject: Subject, run: Run) -> Outputs:
    """The first output on every evaluation sample."""
    return [run(feed)[0] for feed in subject.evaluation()]


def share(layers: Sequence[LayerRecord]) -> str:
    """How many of the linear layers are quantized."""
    return f"{sum(layer.quantized for layer in layers)} / {len(layers)}"


def show(title: str, columns: Sequence[str], rows: Sequence[Row]) -> None:
    """Print a table, as wide as it wants to be."""
    Console(width=150).print(table(title, columns, rows))


if __name__ == "__main__":
    main(sys.argv[1:])
