"""What int8 is worth in time on the CPU: python -m benchmarks.latency

Batch 1, two threads, default ONNX Runtime sessions that take turns in one process; the speedup is the median over turns
of float time over int8 time. A second table has the share of each kind of node in the time of the int8 model, from ONNX
Runtime's profiler: what is left to gain.
"""

import json
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import onnx_ir as ir
import onnxruntime as ort
from rich.console import Console

import requant
from models import documents, minilm, synthetic, vit
from models.subject import Feed
from requant.ir.load import Source, load
from requant.ir.save import to_bytes
from requant.tables import table

RUNS, THREADS, TOKENS, TOP = 30, 2, 128, 6


def main() -> None:
    """Print both tables."""
    times, shares = [], []
    for name, case in CASES.items():
        print(f"{name}: quantizing", file=sys.stderr, flush=True)
        source, feeds = case()
        int8 = requant.optimize(source, feeds, target="cpu").model
        print(f"{name}: timing", file=sys.stderr, flush=True)
        models: dict[str, Source] = {"float": source, "int8": int8}
        before, after = requant.benchmark(models, feeds[:1], runs=RUNS, threads=THREADS)
        times.append((name, f"{before.median:.1f}", f"{after.median:.1f}", f"{after.speedup:.2f}×"))
        spent = profiled(int8, feeds[0])
        shares += [(name if i == 0 else "", op, f"{share:.1%}") for i, (op, share) in enumerate(spent)]
    console = Console(width=120)
    console.print(table("Batch 1, two threads", ("model", "float ms", "int8 ms", "speedup"), times))
    console.print(table("Where the int8 model spends its time", ("model", "op", "share"), shares))


def vit_s() -> tuple[Source, list[Feed]]:
    """ViT-S of a real saliency network, with photographs."""
    return vit.VIT_S.model(), vit.VIT_S.calibration()[:8]


def vit_b16(batch: int | None) -> tuple[Source, list[Feed]]:
    """The encoder of a ViT-B/16 with random weights; its data are random, for time does not depend on them."""
    model = synthetic.vit_b16(batch)
    return model, [dict(feed) for feed in synthetic.feeds(model, samples=2)]


def minilm_l6() -> tuple[Source, list[Feed]]:
    """MiniLM-L6 on documents of exactly ``TOKENS`` tokens."""
    text = documents.lee_background()
    feeds = (minilm.feed(" ".join(text[start : start + 8])) for start in range(0, 64, 8))
    return minilm.build(), [{name: ids[:, :TOKENS] for name, ids in feed.items()} for feed in feeds]


CASES: dict[str, Callable[[], tuple[Source, list[Feed]]]] = {
    "ViT-S": vit_s,
    "ViT-B/16 encoder, batch fixed": lambda: vit_b16(1),
    "ViT-B/16 encoder, batch dynamic": lambda: vit_b16(None),
    f"MiniLM-L6, {TOKENS} tokens": minilm_l6,
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
    main()
