"""Networks from packages: python -m benchmarks.networks [part of a name] ... [--accuracy] [--speed]

Measures the networks of `models.networks` whose names hold one of the parts, or all, and writes their rows of the table
in docs/networks.md: all columns, or only those of accuracy or of speed; the other cells stay as they are.

The figures are the SQNR in dB of the worst output, over samples that calibration has not seen: for TensorRT as the
artifact is written, for the CPU in a default session of ONNX Runtime. `quantize_static` is onnxruntime's own, with its
defaults, after its own `quant_pre_process`. Speed is that of a default session with two threads, the models in turns:
the median over turns of float time over int8 time.
"""

import logging
import sys
import tempfile
import warnings
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import onnx_ir as ir
from onnxruntime.quantization import quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

import requant
from models.networks import NETWORKS
from models.subject import Feed, Subject
from requant.ir.load import load
from requant.passes.records import LayerRecord
from requant.runtime.compare import compare

PAGE = Path(__file__).resolve().parents[1] / "docs" / "networks.md"
COLUMNS = (
    *("network", "layers", "TensorRT: int8", "plain, dB", "int8, dB"),
    *("CPU: int8", "plain, dB ", "int8, dB ", "quantize_static, dB", "speed", "quantize_static, speed"),
)
NAME, LAYERS, *TENSORRT = COLUMNS[:5]
*CPU, STATIC, SPEED, STATIC_SPEED = COLUMNS[5:]
FLOAT = "float"
THREADS, RUNS = 2, 30

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
        print(*cells.values(), sep=" | ", file=sys.stderr, flush=True)
        write(cells)


def accuracy(network: Subject) -> Cells:
    """The columns of accuracy."""
    source, fresh, cells = load(network.model()), network.evaluation(), Cells()
    for target, columns in (("tensorrt", TENSORRT), ("cpu", CPU)):
        for recipe, column in zip(("int8-plain", "int8"), columns[1:], strict=True):
            result = requant.optimize(network.model(), network.calibration(), recipe, target)
            cells[column] = decibels(source, result.model, fresh, optimized=target == "cpu")
        cells[LAYERS] = f"{len(result.report.layers)}"
        cells[columns[0]] = f"{quantized(result.report.layers)}"
    cells[STATIC] = decibels(source, static(network), fresh, optimized=True)
    return cells


def speed(network: Subject) -> Cells:
    """The columns of speed."""
    result = requant.optimize(network.model(), network.calibration(), "int8", "cpu")
    models = {"float": load(network.model()), "static": static(network)}
    if quantized(result.report.layers):
        models["int8"] = result.model
    turns = requant.benchmark(models, network.evaluation()[:1], "cpu", runs=RUNS, threads=THREADS)
    cells = {latency.name: f"{latency.speedup:.2f}×" for latency in turns}
    return {SPEED: cells.get("int8", FLOAT), STATIC_SPEED: cells["static"]}


def decibels(source: ir.Model, model: ir.Model, feeds: Iterable[Feed], *, optimized: bool) -> str:
    """SQNR of the worst output that can be compared."""
    outputs = compare(source, model, feeds, layers=False, optimized=optimized).outputs.values()
    worst = min(outputs, key=lambda distance: distance.sqnr)
    return FLOAT if worst.equal else f"{worst.sqnr:.1f}"


def quantized(layers: Sequence[LayerRecord]) -> int:
    """Count those in int8."""
    return sum(layer.quantized for layer in layers)


def static(network: Subject) -> ir.Model:
    """The network as onnxruntime quantizes it by default."""
    with tempfile.TemporaryDirectory() as folder:
        prepared, target = Path(folder) / "prepared.onnx", Path(folder) / "quantized.onnx"
        quant_pre_process(network.model(), prepared)
        quantize_static(prepared, target, Reader(network.calibration()))
        return load(target.read_bytes())


class Reader:
    """The feeds one by one, as `quantize_static` asks for them."""

    def __init__(self, feeds: Iterable[Feed]) -> None:
        self.feeds: Iterator[Feed] = iter(feeds)

    def get_next(self) -> Feed | None:
        """Return the next, or None after the last."""
        return next(self.feeds, None)


def write(cells: Cells) -> None:
    """Put ``cells`` into the row of their network; the table is the last of the page, its rows in the networks' order."""
    text, _, table = PAGE.read_text(encoding="utf-8").partition(line(COLUMNS))
    found = (dict(zip(COLUMNS, row.strip("| ").split(" | "), strict=True)) for row in table.strip().splitlines()[1:])
    rows = {row[NAME]: row for row in found}
    rows[cells[NAME]] = dict.fromkeys(COLUMNS, "–") | rows.get(cells[NAME], {}) | cells
    ordered = [line(rows[name][column] for column in COLUMNS) for name in NETWORKS if name in rows]
    PAGE.write_text("\n".join([text + line(COLUMNS), line("---" for _ in COLUMNS), *ordered, ""]), encoding="utf-8")


def line(cells: Iterable[str]) -> str:
    """Return a row of a markdown table."""
    return "| " + " | ".join(cells) + " |"


if __name__ == "__main__":
    main(sys.argv[1:])
