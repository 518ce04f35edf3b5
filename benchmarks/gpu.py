"""What each number format is worth on a GPU: python -m benchmarks.gpu

A ViT-B/16 encoder at batch 8 and a stack of RMSNorm and SwiGLU, with random weights, on the engines that are installed:
ONNX Runtime with CUDA, ONNX Runtime with TensorRT 10, and TensorRT's own engines. Times are minima and medians with all
data on the GPU; SQNR is against float32 on the CPU. Exits with 1 when an engine fell back: when its libraries did not
load, or a node ran elsewhere. This script has not been run on a GPU yet.
"""

import importlib.util
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
from rich.console import Console, RenderableType

import requant
from models import synthetic
from models.subject import Array, Feed
from requant.ir.load import load
from requant.runtime import FallbackError, FallbackWarning, runner
from requant.runtime.distance import distance
from requant.runtime.gpu import gpu_name
from requant.tables import table

from .on_gpu import Bound, Engine, Live
from .variants import VARIANTS, lowered

WARMUP, RUNS, SAMPLES = 20, 100, 4


@dataclass(frozen=True)
class Runs:
    """What runs a model: for which target it is lowered, the packages that it needs, and how it is opened."""

    target: str
    packages: Sequence[str]
    open: Callable[[ir.Model, Feed, Path], Live]


@dataclass(frozen=True)
class Row:
    """A line of the table: milliseconds, and dB, where ``note`` does not say why there are none."""

    subject: str
    variant: str
    engine: str
    minimum: float = 0.0
    median: float = 0.0
    sqnr: float = 0.0
    note: str = ""
    fell_back: bool = False


ENGINES = {
    "ONNX Runtime, CUDA": Runs("cuda", (), lambda model, feed, folder: Bound(model, feed, "cuda", folder)),
    "ONNX Runtime, TensorRT": Runs(
        "tensorrt", ("tensorrt_libs",), lambda model, feed, folder: Bound(model, feed, "tensorrt", folder)
    ),
    "TensorRT": Runs("tensorrt", ("tensorrt",), Engine),
}

SUBJECTS: dict[str, Callable[[], onnx.ModelProto]] = {
    "ViT-B/16 encoder": lambda: synthetic.vit_b16(8),
    "RMSNorm, SwiGLU": lambda: synthetic.rms_swiglu(synthetic.Transformer(1024, 16, 8, 2816, tokens=256, batch=8)),
}


def main() -> int:
    """Print the table; 1 if an engine fell back, or there is no GPU."""
    if not gpu_name():
        print("there is no CUDA device here", file=sys.stderr)
        return 1
    print(gpu_name())
    with tempfile.TemporaryDirectory() as folder:
        found = list(rows(SUBJECTS, ENGINES, Path(folder)))
    Console(width=160).print(rendered(found))
    return int(any(row.fell_back for row in found))


def rows(
    subjects: Mapping[str, Callable[[], onnx.ModelProto]], engines: Mapping[str, Runs], folder: Path
) -> Iterator[Row]:
    """A row for each subject, variant and engine; what an engine keeps goes to ``folder``."""
    missing = {name: absent for name, engine in engines.items() if (absent := lacks(engine))}
    yield from (Row("", "", name, note=f"{absent} is not installed") for name, absent in missing.items())
    here = {name: engine for name, engine in engines.items() if name not in missing}
    for subject, build in subjects.items():
        source = build()
        feeds = [dict[str, Array](feed) for feed in synthetic.feeds(source, SAMPLES)]
        wanted = runner(load(source))(feeds[0])[0]
        for variant in VARIANTS:
            print(f"{subject}: {variant.name}", file=sys.stderr, flush=True)
            made = {target: lowered(source, feeds, variant, target) for target in {e.target for e in here.values()}}
            for name, engine in here.items():
                row = Row(subject, variant.name, name)
                yield measured(row, made[engine.target], engine, feeds[0], wanted, folder)


def lacks(engine: Runs) -> str:
    """A package that the engine needs and that is not installed, or nothing."""
    return next((package for package in engine.packages if importlib.util.find_spec(package) is None), "")


def measured(row: Row, model: ir.Model | str, engine: Runs, feed: Feed, wanted: Array, folder: Path) -> Row:
    """``row`` with its numbers, or with the reason why there are none."""
    if isinstance(model, str):
        return replace(row, note=model)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", FallbackWarning)
            live = engine.open(model, feed, folder)
        times = timed(live)
    except (FallbackWarning, FallbackError) as fallback:
        return replace(row, note=f"FELL BACK: {fallback}", fell_back=True)
    except requant.RequantError as error:
        return replace(row, note=str(error))
    sqnr = distance(wanted, live.outputs()[0]).sqnr
    return replace(row, minimum=min(times), median=float(np.median(times)), sqnr=sqnr)


def timed(live: Live) -> list[float]:
    """Milliseconds of each run that counts."""
    times = []
    for _ in range(WARMUP + RUNS):
        start = time.perf_counter()
        live.run()
        times.append((time.perf_counter() - start) * 1e3)
    return times[WARMUP:]


def rendered(found: Sequence[Row]) -> RenderableType:
    """The table; speedups are of minima, over float32 on the same engine."""
    float32 = {(row.subject, row.engine): row.minimum for row in found if row.variant == "float32"}
    lines = [
        (row.subject, row.variant, row.engine, *([row.note, "", "", ""] if row.note else numbers(row, float32)))
        for row in found
    ]
    columns = ("subject", "variant", "engine", "ms, least", "median", "× float32", "SQNR dB")
    return table("On the GPU", columns, lines)


def numbers(row: Row, float32: Mapping[tuple[str, str], float]) -> list[str]:
    """The cells of a row that ran."""
    base = float32.get((row.subject, row.engine), 0.0)
    speedup = f"{base / row.minimum:.2f}×" if base else ""
    return [f"{row.minimum:.3f}", f"{row.median:.3f}", speedup, f"{row.sqnr:.1f}"]


if __name__ == "__main__":
    sys.exit(main())
