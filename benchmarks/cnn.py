"""CNNs with SiLU, HardSwish and gates on the CPU: python -m benchmarks.cnn [part of a network's name] ...

Each network in float, as onnxruntime's `quantize_static` writes it (all ops, Q/DQ, uint8 activations, int8 weights per
tensor or per channel, after its `quant_pre_process`), and as requant does for the CPU. A second table is of OpenVINO.

Speed is the median, over turns, of the float network's time over that of another: CPU time for one thread, which other
processes hardly touch, and wall clock for two. SQNR and agreement are those with the float network over samples that
calibration has not seen: SQNR in dB of the worst output; of YOLOv8's one output, of the boxes and of the scores. Convs
are those that ONNX Runtime's optimized graph holds in int8, of the float network's.
"""

import logging
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import onnx
from onnx import version_converter
from onnxruntime import InferenceSession, SessionOptions
from onnxruntime.quantization import QuantType
from rich.console import Console

from models.networks import NETWORKS
from models.subject import Array, Predict, Subject
from requant.ir.load import load
from requant.ir.save import to_bytes
from requant.runtime.session import runner
from requant.tables import table

from .networks import RAISES, decibels, in_turns, optimized, outputs, quantized_statically, session

CNNS = "bodies, YOLOv8", "bodies, YOLOv8 640", "lines, SVTR", "text areas, DBNet", "page layout, PicoDet"
UINT8 = {"activation_type": QuantType.QUInt8, "weight_type": QuantType.QInt8}
STATIC: dict[str, dict[str, Any]] = {  # keyword arguments of any type
    "quantize_static": UINT8,
    "quantize_static, per channel": UINT8 | {"per_channel": True},
}
FLOAT, OURS = "float", "requant"
COLUMNS = "network", "model", "one thread", "two threads", "SQNR dB", "agreement", "int8 Convs"

Open = Callable[[int], dict[str, Predict]]
"""Opens the models of a network, the float one first, in sessions of so many threads."""
Row = tuple[str, ...]


def main(parts: Sequence[str]) -> None:
    """Print a table for ONNX Runtime and one for OpenVINO."""
    logging.getLogger().setLevel("ERROR")  # quantize_static recommends what was done
    warnings.simplefilter("ignore")
    tables: dict[str, list[Row]] = {"ONNX Runtime": [], "OpenVINO": []}
    for name in CNNS:
        if parts and not any(part in name for part in parts):
            continue
        for rows, measure in zip(tables.values(), (on_onnxruntime, on_openvino), strict=True):
            for row in measure(NETWORKS[name]):
                rows.append(row)
                print(*row, sep=" | ", file=sys.stderr, flush=True)
    console = Console(width=150)
    for title, rows in tables.items():
        console.print(table(title, COLUMNS[: len(rows[0])] if rows else COLUMNS, rows))


def on_onnxruntime(network: Subject) -> Iterator[Row]:
    """Measure the network's models on ONNX Runtime."""
    source, calibration = onnx.load(network.model()), network.calibration()
    models = {FLOAT: source.SerializeToString()}
    for name, options in STATIC.items():
        models[name] = quantized_statically(with_axes(source), calibration, **options)
    models[OURS] = to_bytes(optimized(network, "int8", "cpu").model)
    written = {name: model for name, model in models.items() if model}
    yield from ((network.name, name, *[RAISES] * 5) for name in models if name not in written)
    convs = {name: integer_convs(model) for name, model in written.items()}
    total = sum(node.op_type == "Conv" for node in source.graph.node)

    def opened(threads: int) -> dict[str, Predict]:
        return {name: session(model, threads) for name, model in written.items()}

    for row in compared(network, opened, time.thread_time):
        yield *row, f"{convs[row[1]]} of {total}"


def with_axes(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return the model at an opset whose DequantizeLinear has an axis: `quantize_static` writes one at any."""
    return model if model.opset_import[0].version >= 13 else version_converter.convert_version(model, 17)


def on_openvino(network: Subject) -> Iterator[Row]:
    """Measure the network's models on OpenVINO, over OpenVINO's own float; its thread is not the one that calls."""
    models = {FLOAT: load(network.model()), OURS: optimized(network, "int8", "openvino").model}

    def opened(threads: int) -> dict[str, Predict]:
        return {name: runner(model, target="openvino", threads=threads) for name, model in models.items()}

    yield from compared(network, opened, time.process_time)


def compared(network: Subject, opened: Open, clock: Callable[[], float]) -> Iterator[Row]:
    """Compare a network's models with the first of them; ``clock`` is that of one thread."""
    fresh, alone = network.evaluation(), opened(1)
    one, two = in_turns(alone, fresh[0], clock), in_turns(opened(2), fresh[0])
    expected = outputs(alone[FLOAT], fresh)
    for name, predict in alone.items():
        if name == FLOAT:
            continue
        actual = outputs(predict, fresh)
        agreement = ", ".join(f"{task} {share:.3f}" for task, share in network.score(predict).items())
        yield network.name, name, one[name], two[name], " / ".join(ratios(network, expected, actual)), agreement


def ratios(network: Subject, expected: Sequence[Sequence[Array]], actual: Sequence[Sequence[Array]]) -> list[str]:
    """Return the SQNR of the worst output; of YOLOv8's, of the rows that hold boxes and of those that hold scores."""
    if "YOLOv8" not in network.name:
        return [decibels(expected, actual)]
    sides = [[feed[0] for feed in side] for side in (expected, actual)]
    parts = slice(None, 4), slice(4, None)
    return [decibels(*([[output[:, part]] for output in side] for side in sides)) for part in parts]


def integer_convs(model: bytes) -> int:
    """Count the Convs that ONNX Runtime runs in int8."""
    with tempfile.TemporaryDirectory() as folder:
        options = SessionOptions()
        options.log_severity_level = 4  # it warns that such a file is for this machine alone
        options.optimized_model_filepath = str(Path(folder) / "optimized.onnx")
        InferenceSession(model, options, providers=["CPUExecutionProvider"])
        nodes = onnx.load(options.optimized_model_filepath).graph.node
    return sum(node.op_type == "QLinearConv" for node in nodes)


if __name__ == "__main__":
    main(sys.argv[1:])
