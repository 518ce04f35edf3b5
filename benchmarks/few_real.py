"""Few samples of real models: python -m benchmarks.few_real [vit-s] [minilm] [llama] [--draws N]

`int8` from a few samples of the calibration data (`models`), another part of them in each draw: the TensorRT artifact,
run by ONNX Runtime as written. SQNR in dB as in `benchmarks.accuracy`, the mean of the evaluation samples, over draws.
"""

import sys
from collections.abc import Iterator, Sequence

import numpy as np

import requant
from models.subject import Feed
from requant.ir.load import load
from requant.runtime.distance import distance
from requant.runtime.session import Run, runner

from .accuracy import SUBJECTS, Outputs, outputs, show

SAMPLES = {"vit-s": (4, 8, 16, 32), "minilm": (4, 8, 40), "llama": (8, 40)}


def main(arguments: list[str]) -> None:
    """Print a table of the subjects named, or of all."""
    draws = int(arguments[arguments.index("--draws") + 1]) if "--draws" in arguments else 4
    rows = [
        row for name in SAMPLES if name in arguments or not set(SAMPLES) & set(arguments) for row in _rows(name, draws)
    ]
    show("int8 from few samples", ("subject", "samples", "mean dB", "worst draw"), rows)


def _rows(name: str, draws: int) -> Iterator[tuple[str, ...]]:
    subject = SUBJECTS[name]
    calibration, wanted = list(subject.calibration()), outputs(subject, runner(load(subject.model())))
    for samples in SAMPLES[name]:
        starts = [draw * samples for draw in range(draws) if (draw + 1) * samples <= len(calibration)] or [0]
        found = [_sqnr(wanted, outputs(subject, _quantized(name, calibration[at : at + samples]))) for at in starts]
        row = name, str(samples), f"{np.mean(found):.1f}", f"{min(found):.1f}"
        print(*row, [f"{value:.1f}" for value in found], sep=" | ", file=sys.stderr, flush=True)
        yield row


def _quantized(name: str, calibration: Sequence[Feed]) -> Run:
    return runner(requant.optimize(SUBJECTS[name].model(), calibration, "int8", "tensorrt", precision="float32").model)


def _sqnr(wanted: Outputs, found: Outputs) -> float:
    return float(np.mean([distance(y, z).sqnr for y, z in zip(wanted, found, strict=True)]))


if __name__ == "__main__":
    main(sys.argv[1:])
