"""How the accuracy of `int8` grows with calibration data: python -m benchmarks.few_samples [family] ... [--draws N]

Random networks (`models.few`), `int8-plain` beside it: the TensorRT artifact, run by ONNX Runtime as written. Each draw
is another network and other data. A cell has SQNR in dB over 256 samples that calibration has not seen, for plain and
for int8, as means over the draws; then the worst difference of one draw.
"""

import sys
import warnings
from collections.abc import Iterator, Sequence

import numpy as np

import requant
from models.few import FAMILIES, Family
from requant.ir.load import load
from requant.runtime.session import Run, runner

from .accuracy import show

SAMPLES = 4, 8, 16, 32, 128
FRESH, SEED = 256, 70_000
RECIPES = "int8-plain", "int8"


def main(arguments: list[str]) -> None:
    """Print a row for each family named, or for all."""
    draws = int(arguments[arguments.index("--draws") + 1]) if "--draws" in arguments else 8
    names = [name for name in arguments if name in FAMILIES] or list(FAMILIES)
    rows = [(name, *_cells(name, draws)) for name in names]
    show("plain → int8 (worst draw), dB", ("family", *map(str, SAMPLES)), rows)


def _cells(name: str, draws: int) -> Iterator[str]:
    for samples in SAMPLES:
        found = np.array([_draw(FAMILIES[name](SEED + draw), samples) for draw in range(draws)])
        plain, ours = found.mean(axis=0)
        cell = f"{plain:.1f} → {ours:.1f} ({(found[:, 1] - found[:, 0]).min():+.1f})"
        print(name, samples, cell, sep=" | ", file=sys.stderr, flush=True)
        yield cell


def _draw(family: Family, samples: int) -> tuple[float, ...]:
    """SQNR of each recipe on fresh data."""
    fresh = family.feeds(FRESH, 1)
    run = runner(load(family.model))
    wanted = [run(feed)[0].astype(np.float64) for feed in fresh]
    return tuple(_sqnr(_quantized(family, samples, recipe), fresh, wanted) for recipe in RECIPES)


def _quantized(family: Family, samples: int, recipe: str) -> Run:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return runner(
            requant.optimize(family.model, family.feeds(samples, 0), recipe, "tensorrt", precision="float32").model
        )


def _sqnr(run: Run, fresh: Sequence[dict[str, np.ndarray]], wanted: Sequence[np.ndarray]) -> float:
    noise = sum(np.square(run(feed)[0] - y).sum() for feed, y in zip(fresh, wanted, strict=True))
    return float(10 * np.log10(sum(np.square(y).sum() for y in wanted) / noise))


if __name__ == "__main__":
    main(sys.argv[1:])
