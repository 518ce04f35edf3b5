"""Networks from packages: python -m benchmarks.networks [part of a name] ... [--accuracy] [--speed]

Measures the networks of `models.networks` whose names hold one of the parts, or all, and writes their rows of the table
in docs/networks.md: all columns, or only those of accuracy or of speed; the other cells stay as they are.

`quantize_static` is onnxruntime's own, with its defaults, after its own `quant_pre_process` without symbolic shape
inference, which raises at some of them. It and the CPU's artifacts run in plain sessions of ONNX Runtime, as in an
application; TensorRT's as they are written, with its optimizations off.
"""

import logging
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
from onnxruntime import InferenceSession, SessionOptions
from onnxruntime.quantization import quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

import requant
from models.networks import NETWORKS
from models.subject import Array, Feed, Predict, Subject
from requant.errors import DataError
from requant.ir.save import to_bytes
from requant.passes.records import LayerRecord
from requant.runtime.distance import pooled, sums
from requant.runtime.session import runner

PAGE = Path(__file__).resolve().parents[1] / "docs" / "networks.md"
COLUMNS = (
    *("network", "layers", "TensorRT: int8", "plain, dB", "int8, dB"),
    *("CPU: int8", "plain, dB ", "int8, dB ", "quantize_static, dB", "speed", "quantize_static, speed"),
)
NAME, LAYERS, *TENSORRT = COLUMNS[:5]
*CPU, STATIC, SPEED, STATIC_SPEED = COLUMNS[5:]
FLOAT, RAISES = "float", "raises"
THREADS, RUNS, WARMUP, PAUSE = 2, 30, 5, 0.05

Cells = dict[str, str]


def main(arguments: Sequence[str]) -> None:
    """Measure and write one row after the other."""
    logging.getLogger().setLevel("ERROR")  # quantize_static recommends what was done
    warnings.simplefilter("ignore")
    wanted = {one for one in arguments if one.startswith("--")} or {"--accuracy", "--speed"}
    parts = [one for one in arguments if not one.startswith("--")]
    for name, network in NETWORKS.items():
        if parts and not any(part in name for part in parts):
            continue
        cells = {NAME: name}
        for option, measure in (("--accuracy", accuracy), ("--speed", speed)):
            cells |= measure(network) if option in wanted else {}
        print(*(f"{column}: {cell}" for column, cell in cells.items()), sep=" | ", file=sys.stderr, flush=True)
        write(cells)


def accuracy(network: Subject) -> Cells:
    """Measure the columns of accuracy."""
    fresh, cells = network.evaluation(), Cells()
    expected = outputs(session(network.model()), fresh)
    for target, (count, *columns) in (("tensorrt", TENSORRT), ("cpu", CPU)):
        for recipe, column in zip(("int8-plain", "int8"), columns, strict=True):
            result = optimized(network, recipe, target)
            cells[LAYERS], cells[count] = f"{len(result.report.layers)}", f"{quantized(result.report.layers)}"
            run = runner(result.model) if target == "tensorrt" else session(result.model)
            cells[column] = decibels(expected, outputs(run, fresh)) if quantized(result.report.layers) else FLOAT
    other = static(network)
    cells[STATIC] = decibels(expected, outputs(session(other), fresh)) if other else RAISES
    return cells


def speed(network: Subject) -> Cells:
    """Measure the columns of speed."""
    result = optimized(network, "int8", "cpu")
    models = {FLOAT: session(network.model())}
    if other := static(network):
        models[STATIC_SPEED] = session(other)
    if quantized(result.report.layers):
        models[SPEED] = session(result.model)
    return {SPEED: FLOAT, STATIC_SPEED: RAISES} | in_turns(models, network.evaluation()[0])


def in_turns(models: Mapping[str, Predict], feed: Feed, clock: Callable[[], float] = time.perf_counter) -> Cells:
    """Return the speed of each model but the first: the median, over turns, of the first one's time over its own."""
    times: dict[str, list[float]] = {name: [] for name in models}
    for _ in range(WARMUP + RUNS):
        for name, run in models.items():
            time.sleep(PAUSE)  # the threads of a session spin for a while after a run
            start = clock()
            run(feed)
            times[name].append(clock() - start)
    first, *others = (np.array(values[WARMUP:]) for values in times.values())
    return {name: f"{np.median(first / values):.2f}×" for name, values in zip(list(models)[1:], others, strict=True)}


def outputs(run: Predict, feeds: Iterable[Feed]) -> list[list[Array]]:
    """Return the outputs for each feed."""
    return [run(feed) for feed in feeds]


def decibels(expected: Sequence[Sequence[Array]], actual: Sequence[Sequence[Array]]) -> str:
    """Return the SQNR of the worst output."""
    pairs = zip(zip(*expected, strict=True), zip(*actual, strict=True), strict=True)
    try:
        ratios = (pooled([sums(y, z) for y, z in zip(*pair, strict=True)]).sqnr for pair in pairs)
        return f"{min(ratios):.1f}"
    except DataError:
        return "other shapes"


def quantized(layers: Sequence[LayerRecord]) -> int:
    """Count those in int8."""
    return sum(layer.quantized for layer in layers)


def session(model: Path | bytes | ir.Model, threads: int = THREADS) -> Predict:
    """The model in a session of ONNX Runtime as an application opens it."""
    options = SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = threads, 4
    source = to_bytes(model) if isinstance(model, ir.Model) else model
    opened = InferenceSession(source, options, providers=["CPUExecutionProvider"])
    return lambda feed: [np.asarray(output) for output in opened.run(None, dict(feed))]


@lru_cache(maxsize=4)
def optimized(network: Subject, recipe: str, target: str) -> requant.Result:
    """The network as requant quantizes it."""
    return requant.optimize(network.model(), network.calibration(), recipe, target)


@lru_cache(maxsize=1)
def static(network: Subject) -> bytes:
    """The network as onnxruntime quantizes it by default; nothing where it raises."""
    return quantized_statically(onnx.load(network.model()), network.calibration())


def quantized_statically(model: onnx.ModelProto, calibration: Iterable[Feed], **options: Any) -> bytes:
    """The model as onnxruntime quantizes it with its ``options``; nothing where it raises."""
    with tempfile.TemporaryDirectory() as folder:
        source, prepared, target = (Path(folder) / f"{name}.onnx" for name in ("source", "prepared", "quantized"))
        onnx.save(model, source)  # one in memory it optimizes only with external data
        try:
            quant_pre_process(source, prepared, skip_symbolic_shape=True)
            quantize_static(prepared, target, Reader(calibration), **options)
        except Exception as error:  # it raises what comes, plain Exceptions among it
            print(f"quantize_static: {type(error).__name__}: {error}", file=sys.stderr)
            return b""
        return target.read_bytes()


class Reader:
    """The feeds one by one, as `quantize_static` asks for them."""

    def __init__(self, feeds: Iterable[Feed]) -> None:
        self.feeds: Iterator[Feed] = iter(feeds)

    def get_next(self) -> Feed | None:
        """Return the next, or None after the last."""
        return next(self.feeds, None)


def write(cells: Cells) -> None:
    """Put ``cells`` into the row of their network; the table ends the page, its rows in the order of the networks."""
    text, _, table = PAGE.read_text(encoding="utf-8").partition(line(COLUMNS))
    present = (dict(zip(COLUMNS, row.strip("| ").split(" | "), strict=True)) for row in table.strip().splitlines()[1:])
    rows = {row[NAME]: row for row in present}
    rows[cells[NAME]] = dict.fromkeys(COLUMNS, "–") | rows.get(cells[NAME], {}) | cells
    ordered = [line(rows[name][column] for column in COLUMNS) for name in NETWORKS if name in rows]
    PAGE.write_text("\n".join([text + line(COLUMNS), line("---" for _ in COLUMNS), *ordered, ""]), encoding="utf-8")


def line(cells: Iterable[str]) -> str:
    """Return a row of a markdown table."""
    return "| " + " | ".join(cells) + " |"


if __name__ == "__main__":
    main(sys.argv[1:])
