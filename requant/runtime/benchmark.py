"""Latency side by side: the models take turns on the same feed, so that a drift of the machine hits all alike."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from .feeds import Feed, fitted
from .session import runner


@dataclass(frozen=True)
class Latency:
    """The latency of one model in milliseconds, over ``runs`` runs.

    ``speedup`` is the median, over turns, of the first model's latency over this one's.
    """

    name: str
    minimum: float
    median: float
    p90: float
    speedup: float
    runs: int

    def to_dict(self) -> dict[str, Any]:  # JSON: values of any plain type
        """Return plain numbers."""
        return asdict(self)


def benchmark(
    models: Mapping[str, ir.Model],
    feeds: Sequence[Feed],
    target: str = "cpu",
    *,
    runs: int = 30,
    warmup: int = 5,
    threads: int = 2,
    pause: float = 0.1,
    progress: Callable[[int], None] = lambda count: None,
) -> list[Latency]:
    """Time each model on the target's engine, interleaved; on a GPU with the copies to it and back.

    Args:
        models: by name; speedups are relative to the first.
        feeds: taken in turn; all models see the same one in a turn.
        target: a name in `requant.runtime.TARGETS`; the engine may optimize the graph as it likes.
        runs: turns that count.
        warmup: turns that do not.
        threads: intra-op threads of each session.
        pause: seconds before each run. A session's threads go on spinning for a while after a run, and would take
            the cores from the next model.

    Raises:
        TargetError: the engine is not installed, or not on this machine.
    """
    runners = {name: runner(model, target=target, optimized=True, threads=threads) for name, model in models.items()}
    times: dict[str, list[float]] = {name: [] for name in models}
    for turn in range(warmup + runs):
        for name, each in runners.items():
            feed = fitted(feeds[turn % len(feeds)], models[name])
            time.sleep(pause)
            start = time.perf_counter()
            each(feed)
            times[name].append((time.perf_counter() - start) * 1e3)
        progress(turn)
    timed = {name: np.array(values[warmup:]) for name, values in times.items()}
    first = next(iter(timed.values()))
    return [_latency(name, values, first) for name, values in timed.items()]


def _latency(name: str, values: NDArray[np.float64], first: NDArray[np.float64]) -> Latency:
    return Latency(
        name,
        float(values.min()),
        float(np.median(values)),
        float(np.percentile(values, 90)),
        float(np.median(first / values)),
        len(values),
    )
