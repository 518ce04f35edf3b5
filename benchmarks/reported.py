"""What the report says of `int8`, and what other data say: python -m benchmarks.reported [name] ... [--draws N]

Random networks (`models.few`), and the real models of `benchmarks.accuracy` by parts of their calibration data: the
TensorRT artifact, run by ONNX Runtime as written. The number that is reported comes from samples that are held out of
the calibration data, or from the calibration data itself where those are few; the true one from data that calibration
has not seen. A row has means over the draws, then the median and the largest of reported minus true, in dB.
"""

import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

import requant
from models.few import FAMILIES
from models.subject import Array
from requant.ir.load import Source

from .accuracy import SUBJECTS, show

SAMPLES = 8, 32, 128
FRESH, SEED = 256, 90_000

Feeds = Sequence[Mapping[str, Array]]
Draw = tuple[Source, Feeds, Feeds]


def main(arguments: list[str]) -> None:
    """Print a row for each number of samples of the networks named, or of all."""
    draws = int(arguments[arguments.index("--draws") + 1]) if "--draws" in arguments else 4
    names = [name for name in (*FAMILIES, *SUBJECTS) if name in arguments] or [*FAMILIES, *SUBJECTS]
    rows, gaps = [], list[float]()
    for name in names:
        for samples in SAMPLES:
            found = np.array([_reported_and_true(*draw) for draw in _draws(name, samples, draws)])
            if not len(found):
                continue
            apart = found[:, 0] - found[:, 1]
            gaps += apart.tolist()
            means = (f"{value:.1f}" for value in found.mean(axis=0))
            rows.append((name, str(samples), *means, f"{np.median(apart):+.1f}", f"{apart.max():+.1f}"))
            print(*rows[-1], sep=" | ", file=sys.stderr, flush=True)
    show("int8, dB", ("network", "samples", "reported", "true", "median apart", "most"), rows)
    print(
        f"median of |reported - true| {np.median(np.abs(gaps)):.2f} dB, largest of reported - true {max(gaps):+.1f} dB"
    )


def _draws(name: str, samples: int, draws: int) -> Iterator[Draw]:
    """A model, ``samples`` to calibrate on and others, as often as the data allow."""
    if name in FAMILIES:
        for family in (FAMILIES[name](SEED + draw) for draw in range(draws)):
            yield family.model, family.feeds(samples, 0), family.feeds(FRESH, 1)
        return
    subject = SUBJECTS[name]
    calibration = list(subject.calibration())
    apart = len(calibration) // samples
    for draw in range(min(draws, apart)):  # neighbours are crops of one photograph, or pages of one font
        yield subject.model(), calibration[draw::apart][:samples], list(subject.evaluation())


def _reported_and_true(source: Source, calibration: Feeds, fresh: Feeds) -> tuple[float, float]:
    """SQNR of the worst output, both times over all samples at once."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        result = requant.optimize(source, calibration, "int8", "tensorrt", precision="float32")
        truth = requant.compare(source, result.model, fresh)
    reported, true = (min(one.sqnr for one in outputs.values()) for outputs in (result.report.outputs, truth.outputs))
    return reported, true


if __name__ == "__main__":
    main(sys.argv[1:])
