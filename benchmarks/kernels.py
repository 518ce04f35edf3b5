"""What the kernels of ONNX Runtime's CPU provider cost on this machine: python -m benchmarks.kernels [part of a unit]

Each unit of `benchmarks.kernel_units` is repeated in a short and in a long chain; the difference of their times over
that of their lengths is what one repetition takes: medians, one thread, CPU time of that thread. A unit is left out
where ONNX Runtime's optimized graph holds other kernels than those meant. The first table has its times in ns per
element of the image, the second prices that are fitted to all times, beside those of another machine (a Zen 4 core).

In a network, weights and code are not in the cache: the last table has what a node takes there over its price, and
beside it, fitted to the profiles of the networks of `benchmarks.cnn`, in float and by `quantize_static`.
"""

import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
from onnxruntime import InferenceSession, SessionOptions
from rich.console import Console

from models.subject import Feed
from requant.tables import table

from .kernel_amounts import COUNTED
from .kernel_chains import Shape, repeated
from .kernel_prices import ZEN_4, Prices, Timing, fitted, predicted
from .kernel_profile import in_networks
from .kernel_units import UNITS, Unit

SHAPES = tuple(
    Shape(channels, side)
    for channels, sides in ((16, (160, 40)), (32, (80, 40)), (64, (80, 40, 20)), (128, (40, 20)), (256, (20, 10)))
    for side in sides
)
SHORT, LONG = 2, 10
TURNS, SECONDS, WARMUP = 9, 0.15, 2


def main(wanted: Sequence[str]) -> None:
    """Measure the units whose names hold one of ``wanted``, or all, and print their times and the kernels' prices."""
    timings, others = list[Timing](), list[tuple[str, str, str]]()
    for unit in UNITS:
        if wanted and not any(part in unit.name for part in wanted):
            continue
        print(unit.name, file=sys.stderr, flush=True)
        for shape in SHAPES:
            seconds, kernels = measured(unit, shape)
            if kernels == Counter(op for kernel in unit.kernels for op in kernel.ops):
                timings.append(Timing(unit, shape, seconds))
            else:
                others.append((unit.name, label(shape), str(dict(kernels))))
    found, console = fitted(timings), Console(width=170)
    console.print(table("ns per element of the image", ("unit", *map(label, SHAPES)), times(timings)))
    console.print(table("Prices (on a Zen 4 core)", ("kernel", *COUNTED, "median error"), prices(timings, found)))
    if not wanted:
        columns = "kernel", "nodes", "time / price", "µs/call more"
        console.print(table("In networks", columns, in_networks(found)))
    console.print(table("Run as other kernels than those meant", ("unit", "shape", "kernels"), others))


def label(shape: Shape) -> str:
    """Return channels and size as one says them."""
    return f"{shape.channels} × {shape.side}²"


def times(timings: Sequence[Timing]) -> list[tuple[str, ...]]:
    """Return a row for each unit."""
    rows: dict[str, dict[Shape, str]] = {}
    for one in timings:
        rows.setdefault(one.unit.name, {})[one.shape] = f"{one.seconds / one.shape.elements * 1e9:.3g}"
    return [(name, *(row.get(shape, "") for shape in SHAPES)) for name, row in rows.items()]


def prices(timings: Sequence[Timing], found: Prices) -> list[tuple[str, ...]]:
    """Return a row for each kernel; its error is that of all units that it is in."""
    rows = list[tuple[str, ...]]()
    for name, mine in found.items():
        units = [one for one in timings if any(kernel.name == name for kernel in one.unit.kernels)]
        error = np.median([abs(predicted(one, found) / one.seconds - 1) for one in units])
        cells = (_cell(mine.get(per), ZEN_4.get(name, {}).get(per, "")) for per in COUNTED)
        rows.append((name, *cells, f"{error:.0%}"))
    return rows


def _cell(price: float | None, other: str) -> str:
    own = "" if price is None else f"{price:.2g}"
    return f"{own} ({other})" if other else own


def measured(unit: Unit, shape: Shape) -> tuple[float, Counter[str]]:
    """Return the seconds of one repetition, and the kernels that run it."""
    short, long = (repeated(unit.build, shape, length, quantized=unit.quantized) for length in (SHORT, LONG))
    (quick, few), (slow, many) = opened(short), opened(long)
    added = Counter({op: round(count / (LONG - SHORT), 2) for op, count in (many - few).items()})
    feed: Feed = {
        "x": np.random.default_rng(0).standard_normal((1, shape.channels, shape.side, shape.side), np.float32)
    }
    differences, start = list[float](), time.perf_counter()
    while len(differences) < WARMUP + TURNS or time.perf_counter() - start < SECONDS:
        differences.append(seconds_of(slow, feed) - seconds_of(quick, feed))
    return float(np.median(differences[WARMUP:])) / (LONG - SHORT), added


def opened(model: onnx.ModelProto) -> tuple[InferenceSession, Counter[str]]:
    """Return a session of one thread, and the kernels of its optimized graph."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "optimized.onnx"
        options = SessionOptions()
        options.intra_op_num_threads, options.log_severity_level = 1, 4  # it warns that such a file is for this machine
        options.optimized_model_filepath = str(path)
        session = InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        return session, Counter(kernel_of(node) for node in onnx.load(path).graph.node)


def kernel_of(node: onnx.NodeProto) -> str:
    """Return the op type of a node, marked where it is of ONNX Runtime's blocked layout."""
    return f"nchwc.{node.op_type}" if node.domain.endswith("nchwc") else node.op_type


def seconds_of(session: InferenceSession, feed: Feed) -> float:
    """Return the CPU time of a run in this thread: other processes do not count."""
    start = time.thread_time()
    session.run(None, feed)
    return time.thread_time() - start


if __name__ == "__main__":
    main(sys.argv[1:])
