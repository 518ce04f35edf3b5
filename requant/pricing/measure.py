"""Measure the prices of this machine.

Each unit of `units` is repeated in a short and in a long chain; the difference of their least times over that of their
lengths is what one repetition takes. The rates of a kernel are fitted to it: non-negative least squares of relative
errors.
"""

import time
from collections.abc import Sequence

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray
from scipy.optimize import nnls

from ..runtime.feeds import Feed
from ..runtime.prices import BORDER, DYNAMIC_PRODUCT, KERNELS, PRODUCT, Prices, Rate, Rates
from ..runtime.session import runner
from ..runtime.targets import Target
from .chains import Counts, chain, counts, on_integers
from .units import UNITS, Shape, Unit

SHORT, LONG = 2, 8
SECONDS, TURNS = 0.15, 7

Fit = dict[tuple[str, bool], NDArray[np.float64]]
"""Nanoseconds of a multiplication, an element, a tap and a call, [4], by kernel and whether it runs on integers."""


def measure(engine: Target, source: str) -> Prices:
    """Measure the prices of ``engine`` on this machine, in one thread."""
    fit: Fit = {}
    for unit in UNITS:
        for mode in unit.modes:
            timings = [_timing(unit, shape, engine, integers=mode) for shape in unit.shapes]
            rates = _fitted(unit, timings, fit, integers=mode)
            fit |= {(name, mode): rates for name in unit.names}
    fit[DYNAMIC_PRODUCT, False] = fit[PRODUCT, False]
    kernels = {name: Rates(_rate(fit[name, False]), _rate(fit[name, True])) for name in KERNELS}
    return Prices(source, kernels, _rate(fit[BORDER, True]))


def _timing(unit: Unit, shape: Shape, engine: Target, *, integers: bool) -> tuple[Counts, float]:
    """Return the counts of one repetition and its nanoseconds."""
    dynamic = DYNAMIC_PRODUCT in unit.names
    short, long = (chain(unit, shape, length) for length in (SHORT, LONG))
    few, many = (counts(model, integers=integers, dynamic=dynamic) for model in (short, long))
    models = [on_integers(model, engine, dynamic=dynamic) if integers else model for model in (short, long)]
    quick, slow = _least_times(models)
    zero = np.zeros(4)
    added = {key: (many[key] - few.get(key, zero)) / (LONG - SHORT) for key in many}
    repeated = {key: amounts for key, amounts in added.items() if amounts.any()}
    return repeated, max(slow - quick, 1.0) / (LONG - SHORT)


def _least_times(models: Sequence[ir.Model]) -> list[float]:
    """Return the least nanoseconds of a run of each model, taking turns: CPU time of the one thread."""
    runs = [runner(model, optimized=True, threads=1) for model in models]
    feeds = [_feed(model) for model in models]
    least, start, turns = [np.inf] * len(models), time.perf_counter(), 0
    while turns < TURNS or time.perf_counter() - start < SECONDS:
        for index, (run, feed) in enumerate(zip(runs, feeds, strict=True)):
            begin = time.thread_time_ns()
            run(feed)
            least[index] = min(least[index], time.thread_time_ns() - begin)
        turns += 1
    return least


def _feed(model: ir.Model) -> Feed:
    (data,) = model.graph.inputs
    assert data.shape is not None
    return {"x": np.random.default_rng(0).standard_normal(data.shape.numpy(), np.float32)}


def _fitted(unit: Unit, timings: Sequence[tuple[Counts, float]], fit: Fit, *, integers: bool) -> NDArray[np.float64]:
    """Fit the rate that the kernels of ``unit`` share to the time that the others leave."""
    keys = {(name, integers) for name in unit.names}
    rows, rest, total = [], [], []
    for counted, time_of_all in timings:
        rows.append(sum((counted[key] for key in keys), np.zeros(4)))
        others = sum(float(amount @ fit[key]) for key, amount in counted.items() if key not in keys)
        rest.append(max(time_of_all - others, 0.0))
        total.append(time_of_all)
    weights = 1 / np.array(total)
    solution, _ = nnls(np.array(rows) * weights[:, None], np.array(rest) * weights)
    return np.asarray(solution)


def _rate(numbers: NDArray[np.float64]) -> Rate:
    return Rate(*(float(f"{number:.3g}") for number in numbers))
