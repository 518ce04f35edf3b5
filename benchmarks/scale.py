"""How the analysis and the rewrite grow with the graph: python -m benchmarks.scale [NODES...]

Times each step, in seconds of processor time, on pre-norm transformers with 16 channels and about NODES nodes: 5,000,
10,000 and 20,000 unless given. Prints seconds, seconds per 1,000 nodes, and growth: the latter over that of the first
graph, 1 where time is linear.

What grows faster than the graph is Python's garbage collector, which walks the graph again and again: it is paused
while a model is loaded, canonicalized and searched for sites.
"""

import sys
from collections.abc import Callable, Iterable, Sequence
from time import process_time
from typing import TypeVar

import numpy as np
import onnx

from models.synthetic import Transformer, pre_norm
from requant.ir.canonical.canonicalize import canonicalize
from requant.ir.channels.find import Refusal, Site, find_sites
from requant.ir.channels.inserted import find_inserted
from requant.ir.load import load
from requant.ir.transform.apply import apply_transform
from requant.ir.transform.transform import ChannelTransform

NODES = (5_000, 10_000, 20_000)

Seconds = dict[str, float]
T = TypeVar("T")


def main(sizes: Sequence[int]) -> None:
    """Print a table for graphs of about ``sizes`` nodes."""
    first: dict[str, float] = {}
    for size in sizes:
        model = build(size)
        count, seconds = len(model.graph.node), measure(model)
        seconds["all"] = sum(seconds.values())
        print(f"{count:,} nodes")
        for step, spent in seconds.items():
            per_thousand = 1000 * spent / count
            growth = per_thousand / first.setdefault(step, per_thousand)
            print(f"  {step:<15} {spent:8.2f} s {per_thousand:8.3f} s per 1,000 nodes {growth:6.2f}", flush=True)


def build(nodes: int) -> onnx.ModelProto:
    """A transformer of about ``nodes`` nodes."""
    one, two = (len(pre_norm(_spec(layers)).graph.node) for layers in (1, 2))
    return pre_norm(_spec(max(1, (nodes - one) // (two - one) + 1)))


def _spec(layers: int) -> Transformer:
    return Transformer(width=16, heads=2, layers=layers)


def measure(model: onnx.ModelProto) -> Seconds:
    """Seconds for each step from loading to transforming every site."""
    seconds: Seconds = {}
    loaded = timed(seconds, "load", lambda: load(model))
    timed(seconds, "canonicalize", lambda: canonicalize(loaded))
    sites = only_sites(timed(seconds, "find_sites", lambda: find_sites(loaded)))
    timed(seconds, "rebase", lambda: rebase_all(sites))
    others = only_sites(timed(seconds, "find_inserted", lambda: find_inserted(loaded, sites)))
    timed(seconds, "rebase explicit", lambda: rebase_all(others))
    return seconds


def only_sites(found: Iterable[Site | Refusal]) -> list[Site]:
    """Those that are no refusals."""
    return [site for site in found if isinstance(site, Site)]


def rebase_all(sites: Iterable[Site]) -> None:
    """Scale every channel of every site, and shift it where that is allowed."""
    for site in sites:
        shift = 0.0 if site.shift_blocked else 0.1
        apply_transform(site, ChannelTransform(np.linspace(0.5, 2.0, site.channels), np.full(site.channels, shift)))


def timed(seconds: Seconds, step: str, run: Callable[[], T]) -> T:
    """What ``run`` returns; its seconds are noted under ``step``."""
    start = process_time()
    result = run()
    seconds[step] = process_time() - start
    return result


if __name__ == "__main__":
    main([int(size) for size in sys.argv[1:]] or NODES)
