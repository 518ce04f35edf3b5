"""What int8 is worth in time on the CPU: python -m benchmarks.latency [part of a case's name] ...

Two threads, default sessions of ONNX Runtime that take turns in one process, or OpenVINO's own runtime; the speedup is
the median over turns of float time over int8 time. SQNR is that of the model as it was timed, against the float one. A
second table has the share of each kind of node in the time of the int8 model, from ONNX Runtime's profiler: what is
left to gain.
"""

import json
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import onnx_ir as ir
import onnxruntime as ort
from rich.console import Console

import requant
from models import documents, minilm, orientation, resnet, synthetic, vit
from models.strangers import STRANGERS
from models.subject import Feed
from requant.ir.load import Source, load
from requant.ir.save import to_bytes
from requant.runtime.distance import distance
from requant.runtime.session import runner
from requant.tables import table

from .accuracy import share

RUNS, THREADS, TOKENS, TOP = 30, 2, 128, 6


@dataclass(frozen=True)
class Case:
    """A model with data for calibration, of which the first feed is timed, and the engine that it is timed on."""

    build: Callable[[], tuple[Source, list[Feed]]]
    target: str = "cpu"
    runs: int = RUNS


def main(wanted: Sequence[str]) -> None:
    """Print both tables, of the cases whose names hold one of ``wanted``, or of all."""
    times, shares = [], []
    for name, case in CASES.items():
        if wanted and not any(part in name for part in wanted):
            continue
        print(f"{name}: quantizing", file=sys.stderr, flush=True)
        source, feeds = case.build()
        result = requant.optimize(source, feeds, target=case.target)
        print(f"{name}: timing", file=sys.stderr, flush=True)
        models: dict[str, Source] = {"float": source, "int8": result.model}
        before, after = requant.benchmark(models, feeds[:1], case.target, runs=case.runs, threads=THREADS)
        row = f"{before.median:.1f}", f"{after.median:.1f}", f"{after.speedup:.2f}×"
        times.append((name, *row, _sqnr(source, result.model, feeds[0], case), share(result.report.layers)))
        print(*times[-1], file=sys.stderr, flush=True)
        if case.target == "cpu":
            spent = profiled(result.model, feeds[0])
            shares += [(name if i == 0 else "", op, f"{part:.1%}") for i, (op, part) in enumerate(spent)]
    console, columns = Console(width=120), ("model", "float ms", "int8 ms", "speedup", "SQNR dB", "int8 layers")
    console.print(table("Two threads", columns, times))
    console.print(table("Where the int8 model spends its time", ("model", "op", "share"), shares))


def _sqnr(source: Source, int8: ir.Model, feed: Feed, case: Case) -> str:
    """Of the first output, both models run as they are timed."""
    wanted, found = (runner(load(model), target=case.target, optimized=True)(feed)[0] for model in (source, int8))
    return f"{distance(wanted, found).sqnr:.1f}"


def vit_s() -> tuple[Source, list[Feed]]:
    """ViT-S of a real saliency network, with photographs."""
    return vit.VIT_S.model(), vit.VIT_S.calibration()[:8]


def page_orientation() -> tuple[Source, list[Feed]]:
    """A PP-LCNet, with rendered pages."""
    return orientation.ORIENTATION.model(), orientation.ORIENTATION.calibration()[:8]


def vit_b16(batch: int | None) -> tuple[Source, list[Feed]]:
    """The encoder of a ViT-B/16 with random weights; its data are random, for time does not depend on them."""
    model = synthetic.vit_b16(batch)
    return model, [dict(feed) for feed in synthetic.feeds(model, samples=2)]


def resnet_50() -> tuple[Source, list[Feed]]:
    """A ResNet-50 with random weights, on random data."""
    model = resnet.resnet50(batch=1)
    return model, [dict(feed) for feed in synthetic.feeds(model, samples=8)]


def channels_last() -> tuple[Source, list[Feed]]:
    """A thin ResNet-50 as a converter from TensorFlow wrote it, on random data."""
    stranger = STRANGERS["NHWC, BatchNorm spelled out"]
    return stranger.model(), stranger.feeds(8)


def minilm_l6() -> tuple[Source, list[Feed]]:
    """MiniLM-L6 on documents of exactly ``TOKENS`` tokens."""
    text = documents.lee_background()
    feeds = (minilm.feed(" ".join(text[start : start + 8])) for start in range(0, 64, 8))
    return minilm.build(), [{name: ids[:, :TOKENS] for name, ids in feed.items()} for feed in feeds]


CASES: dict[str, Case] = {
    "ViT-S": Case(vit_s),
    "ViT-B/16 encoder, batch 1": Case(lambda: vit_b16(1)),
    "ViT-B/16 encoder, batch 8": Case(lambda: vit_b16(8), runs=10),
    "ViT-B/16 encoder, any batch, fed 1": Case(lambda: vit_b16(None)),
    f"MiniLM-L6, {TOKENS} tokens": Case(minilm_l6),
    "ResNet-50, batch 1": Case(resnet_50),
    "ResNet-50 thin, channels last": Case(channels_last),
    "page orientation, a PP-LCNet": Case(page_orientation),
    "ViT-B/16 encoder, batch 1, OpenVINO": Case(lambda: vit_b16(1), "openvino"),
}


def profiled(model: ir.Model, feed: Feed) -> list[tuple[str, float]]:
    """The kinds of node that take most of the time, with their shares."""
    with tempfile.TemporaryDirectory() as folder:
        options = ort.SessionOptions()
        options.intra_op_num_threads = THREADS
        options.enable_profiling = True
        options.profile_file_prefix = str(Path(folder) / "profile")
        session = ort.InferenceSession(to_bytes(load(model)), options, providers=["CPUExecutionProvider"])
        for _ in range(RUNS):
            session.run(None, feed)
        events = json.loads(Path(session.end_profiling()).read_text())
    spent: Counter[str] = Counter()
    for event in events:
        if event.get("name", "").endswith("_kernel_time"):
            spent[event["args"]["op_name"]] += event["dur"]
    return [(op, duration / spent.total()) for op, duration in spent.most_common(TOP)]


if __name__ == "__main__":
    main(sys.argv[1:])
