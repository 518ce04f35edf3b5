"""The planner: which values go as integers, by time and noise.

    min over S of  T(S) · (mean N(S) + N_0)^γ        S: the values that are integers

found among the descents of T + λ N over λ: value by value, kernel by kernel, and two kernels at a time.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import onnx_ir as ir

from .problem import Plan, Problem
from .rounding_noise import Noise

TRADES = 16
"""The number of λ that are tried unless a call says otherwise."""

_LEAST_TRADE, _MOST_TRADE = -3, 2
"""The powers of ten between which λ lies, in units of the time and the noise of all values as integers."""

_LEAST = 1.0
"""The nanoseconds that a flip has to save: sums in another order differ by less."""


def trades(count: int = TRADES) -> list[float]:
    """Return so many λ, the least first."""
    return [float(trade) for trade in np.logspace(_LEAST_TRADE, _MOST_TRADE, count)]


def plans(problem: Problem, tried: Sequence[float] | None = None) -> list[Plan]:
    """Return a plan for each trade of time for noise, a λ each, the fastest first; those of `trades` by default."""
    integers = set(problem.allowed)
    worst, total = problem.total_noise(integers), problem.time(integers)
    unit = np.full(len(worst), total / worst.sum() if worst.any() else 0.0)
    found = []
    for trade in trades() if tried is None else tried:
        integers = descend(problem, integers, trade * unit)
        found.append(problem.plan(integers))
    return found


def descend(problem: Problem, start: set[ir.Value], trade: Noise) -> set[ir.Value]:
    """Flip what makes T + trade · N smaller, until nothing does."""
    integers, moves = set(start), list(_moves(problem))
    improves = True
    while improves:
        improves = False
        for move in moves:
            for flipped in (
                [value for value in move if value in integers],
                [value for value in move if value not in integers],
            ):
                if flipped and problem.change(flipped, integers, trade) < -_LEAST:
                    integers ^= set(flipped)
                    improves = True
    return integers


def _moves(problem: Problem) -> Iterator[list[ir.Value]]:
    """Yield the sets of values to flip together: single ones, those of a kernel, and of two kernels in a row."""
    yield from ([value] for value in problem.allowed_in_order)
    for kernel in problem.kernels:
        own = [value for value in dict.fromkeys(kernel.values) if value in problem.allowed]
        yield own
        for value in kernel.outputs:
            for consumer in problem.consumers.get(value, ()):
                others = (other for other in consumer.values if other in problem.allowed)
                yield list(dict.fromkeys([*own, *others]))
