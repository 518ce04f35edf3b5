"""How often `int8` is worse than plain: python -m benchmarks.plain_or_better [target] ... [--graphs N] [--first N]

Random graphs (`models.random_graphs`): wide ones, products in a row and networks of convolutions take turns. About a
tenth of the channels of their data are twenty times as large as the rest. The artifact is run by ONNX Runtime as
written, on 256 samples that calibration has not seen; each output counts by its own size. Where the engine takes any
zero point, `int8` with them is compared with `int8` without.
"""

import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import onnx
import onnx_ir as ir
from numpy.typing import NDArray

import requant
from models.random_graphs import WIDE, random_graph, random_products
from models.random_graphs.draft import BATCH
from models.random_graphs.network import CHANNELS, SIDE, random_network
from models.random_graphs.sequence import VOCABULARY
from requant.ir.load import load
from requant.runtime.feeds import Feed
from requant.runtime.targets import TARGETS, target
from requant.stages.candidates import noise

from .accuracy import Row, show

SAMPLES = 8, 32, 128
FRESH, BOUND = 256, 0.5
OUTLIERS, SIZE = 0.1, 20.0
KINDS = "graph", "products", "network"
TITLES = "pair", "samples", "graphs", "runs", "mean dB", f"worse by {BOUND}", "worst dB"
PLAIN, ZEROS = "int8-plain → int8", "int8 → with zero points"


@dataclass(frozen=True)
class Drawn:
    """A random graph and ``draw``, which makes one feed of its data from a generator."""

    model: onnx.ModelProto
    draw: Callable[[np.random.Generator], NDArray[np.generic]]
    number: int

    def feeds(self, samples: int, seed: int) -> list[Feed]:
        """Feeds that hold ``samples`` in all; those of other seeds are other samples of the same data."""
        rng = np.random.default_rng([self.number, seed, samples // BATCH])
        return [{"x": self.draw(rng)} for _ in range(samples // BATCH)]


class Gain(NamedTuple):
    """By how many dB the second of a ``pair`` of artifacts is better than the first."""

    pair: str
    samples: int
    kind: str
    decibels: float


def main(arguments: list[str]) -> None:
    """Print a table for each target named, or for both that have int8 of their own."""
    graphs, first = (_option(arguments, name, default) for name, default in (("--graphs", 90), ("--first", 0)))
    for engine in [name for name in arguments if name in TARGETS] or ["cpu", "tensorrt"]:
        found = [gain for seed in range(first, first + graphs) for gain in gains(seed, engine)]
        show(f"{engine}: dB gained on fresh data", TITLES, list(_rows(found)))


def gains(seed: int, engine: str) -> Iterator[Gain]:
    """What `int8` gains over `int8-plain`, and what zero points gain, on the graph of ``seed``."""
    kind = KINDS[seed % len(KINDS)]
    graph = drawn(kind, seed)
    fresh, reference = graph.feeds(FRESH, 1), load(graph.model)
    wanted = [("int8-plain", False), ("int8", False), *([("int8", True)] if target(engine).zero_points else [])]
    for samples in SAMPLES:
        data = graph.feeds(samples, 0)
        models = [_artifact(graph.model, data, recipe, engine, zero_points=flag) for recipe, flag in wanted]
        lost = noise(reference, models, fresh).sum(axis=1)
        if lost.all():  # else nothing is quantized
            for pair, before, after in zip((PLAIN, ZEROS), lost, lost[1:], strict=False):
                yield Gain(pair, samples, kind, float(10 * np.log10(before / after)))


def drawn(kind: str, seed: int) -> Drawn:
    """A random graph and its data."""
    rng = np.random.default_rng([seed, 1])
    if kind == "network":
        model, shape = random_network(seed), (BATCH, CHANNELS, SIDE, SIDE)
        size = np.exp(rng.standard_normal((CHANNELS, 1, 1)))
    else:
        graph = random_graph(seed, WIDE) if kind == "graph" else random_products(seed)
        model, shape = graph.model, graph.x.shape
        if graph.x.dtype.kind == "i":
            return Drawn(model, lambda rng: rng.integers(0, VOCABULARY, shape), seed)
        size = np.where(rng.random(shape[-1]) < OUTLIERS, SIZE, 1.0)
    return Drawn(model, lambda rng: (rng.standard_normal(shape) * size).astype(np.float32), seed)


def _artifact(model: onnx.ModelProto, data: Sequence[Feed], recipe: str, engine: str, *, zero_points: bool) -> ir.Model:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return requant.optimize(model, data, recipe, engine, zero_points=zero_points).model


def _rows(found: Sequence[Gain]) -> Iterator[Row]:
    """A row for each pair and number of samples, over all graphs and for each kind."""
    for pair in dict.fromkeys(gain.pair for gain in found):
        for samples in SAMPLES:
            for kind in ("all", *KINDS):
                values = [one.decibels for one in found if one[:2] == (pair, samples) and kind in (one.kind, "all")]
                worse = f"{sum(value < -BOUND for value in values)}"
                if values:
                    mean, worst = f"{np.mean(values):+.2f}", f"{min(values):+.2f}"
                    yield pair, str(samples), kind, str(len(values)), mean, worse, worst


def _option(arguments: Sequence[str], name: str, default: int) -> int:
    return int(arguments[arguments.index(name) + 1]) if name in arguments else default


if __name__ == "__main__":
    main(sys.argv[1:])
