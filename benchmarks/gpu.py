"""What each number format is worth on a GPU: python -m benchmarks.gpu [subject] ...

A ViT-B/16 encoder at batch 8, a stack of RMSNorm and SwiGLU, and a ResNet-50, with random weights, on the engines that
are installed: ONNX Runtime with CUDA and with TensorRT 10, engines of TensorRT and of TensorRT-RTX, and ONNX Runtime
with TensorRT-RTX. Times are minima and medians with all data on the GPU, but for the last, whose data come from the
host; SQNR is against float32 on the CPU. Of TensorRT's engines the time of each kernel is printed beside what the
builder lists of it. Exits with 1 when an engine fell back: when its libraries did not load, or a node ran elsewhere.

On a bare machine with a driver: pip install -e ".[gpu]" for CUDA, ".[tensorrt]" for TensorRT 10 too, or
".[cpu,tensorrt-rtx]" for TensorRT-RTX alone. This script has not been run on a GPU yet.
"""

import importlib.util
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
from rich.console import Console, RenderableType

import requant
from models import synthetic
from models.resnet import resnet50
from models.subject import Array, Feed
from requant.ir.load import load
from requant.runtime import FallbackError, FallbackWarning, runner
from requant.runtime.distance import distance
from requant.runtime.gpu import gpu_name
from requant.tables import table

from .gpu_kernels import KernelGroup, kernel_groups
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
    kernels: Sequence[KernelGroup] = ()


ENGINES = {
    "ONNX Runtime, CUDA": Runs("cuda", (), lambda model, feed, folder: Bound(model, feed, "cuda", folder)),
    "ONNX Runtime, TensorRT": Runs(
        "tensorrt", ("tensorrt_libs",), lambda model, feed, folder: Bound(model, feed, "tensorrt", folder)
    ),
    "TensorRT": Runs("tensorrt", ("tensorrt",), Engine),
    "TensorRT-RTX": Runs("tensorrt-rtx", ("tensorrt_rtx",), partial(Engine, target="tensorrt-rtx")),
    "ONNX Runtime, TensorRT-RTX": Runs(
        "tensorrt-rtx",
        ("onnxruntime_ep_nv_tensorrt_rtx",),
        lambda model, feed, folder: Bound(model, feed, "tensorrt-rtx", folder, device="cpu"),
    ),
}

SUBJECTS: dict[str, Callable[[], onnx.ModelProto]] = {
    "vit-b": lambda: synthetic.vit_b16(8),
    "llama": lambda: synthetic.rms_swiglu(synthetic.Transformer(1024, 16, 8, 2816, tokens=256, batch=8)),
    "resnet50": resnet50,
}


def main(names: Sequence[str] = ()) -> int:
    """Print the tables of the subjects in ``names``, or of all; 1 if an engine fell back, or there is no GPU."""
    if not gpu_name():
        print("benchmarks.gpu: there is no CUDA device here, so that nothing was run", file=sys.stderr)
        return 1
    if unknown := [name for name in names if name not in SUBJECTS]:
        print(f"benchmarks.gpu: no subject is called {unknown[0]!r}: choose of {', '.join(SUBJECTS)}", file=sys.stderr)
        return 1
    print(gpu_name())
    with tempfile.TemporaryDirectory() as folder:
        found = list(rows({name: SUBJECTS[name] for name in names or SUBJECTS}, ENGINES, Path(folder)))
    console = Console(width=160)
    console.print(rendered(found))
    for row in found:
        if row.kernels:
            console.print(rendered_kernels(row))
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
    kernels = kernel_groups(model, engine.target, feed, live.kernel_times()) if isinstance(live, Engine) else ()
    return replace(row, minimum=min(times), median=float(np.median(times)), sqnr=sqnr, kernels=kernels)


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


def rendered_kernels(row: Row) -> RenderableType:
    """The kernels of an engine; milliseconds add up to more than a run, since TensorRT's profiler waits after each."""
    lines = [
        (one.title, str(one.kernels), f"{one.megabytes:.1f}", f"{one.estimated:.3f}", f"{one.measured:.3f}")
        for one in row.kernels
    ]
    columns = ("ops", "kernels", "MB", "ms, an estimate", "ms")
    return table(f"Kernels of {row.subject}, {row.variant}, {row.engine}", columns, lines)


def numbers(row: Row, float32: Mapping[tuple[str, str], float]) -> list[str]:
    """The cells of a row that ran."""
    base = float32.get((row.subject, row.engine), 0.0)
    speedup = f"{base / row.minimum:.2f}×" if base else ""
    return [f"{row.minimum:.3f}", f"{row.median:.3f}", speedup, f"{row.sqnr:.1f}"]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
