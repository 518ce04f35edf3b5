"""The integer program of a plan: one option for each part, at the least cost with the noise of all within bounds.

    min Σ c_pq x_pq        Σ_q x_pq = 1,    Σ n_pqo x_pq ≤ b_o,    x_pq ∈ {0, 1}

over the options q of each part p, for each output o. A part is what is decided for itself: a layer in int8 or in float,
or the regions of a graph. Noises of parts add up where each is measured alone. Source: HAWQ-V3 (Yao et al., 2021) for
the program; the noise at the outputs in place of its Hessian.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import Bounds, LinearConstraint, milp

_GAP = 1e-4
"""The share of the cost by which the solution may miss the least one."""


class Option(NamedTuple):
    """One way to run a part of a model: what it costs, and the noise that it makes in each output, [O]."""

    cost: float
    noise: NDArray[np.float64]


def cheapest(parts: Sequence[Sequence[Option]], bounds: NDArray[np.float64]) -> tuple[int, ...] | None:
    """Return the number of the option to take for each of ``parts``; None where no choice is within ``bounds``, [O].

    The bounds are above 0. Constraints are divided by them: the solver's tolerance would break those of 1e-5.
    """
    if not parts:
        return ()
    options = [option for part in parts for option in part]
    owners = np.repeat(np.arange(len(parts)), [len(part) for part in parts])
    shares = np.array([option.noise for option in options]) / bounds  # [Q, O]
    costs = np.array([option.cost for option in options])
    costs = costs - np.array([costs[owners == part].min() for part in range(len(parts))])[owners]
    is_possible = np.asarray((shares <= 1).all(axis=1), np.bool_)
    result = milp(
        costs / max(costs.max(), np.finfo(np.float64).tiny),
        integrality=np.ones(len(options), np.int64),
        bounds=Bounds(0, is_possible.astype(np.float64)),
        constraints=(
            LinearConstraint(np.where(is_possible[:, None], shares, 0).T, ub=1),
            LinearConstraint((owners == np.arange(len(parts))[:, None]).astype(np.float64), 1, 1),
        ),
        options={"mip_rel_gap": _GAP},
    )
    if result.x is None:
        return None
    return tuple(int(np.argmax(result.x[owners == part])) for part in range(len(parts)))


def total(parts: Sequence[Sequence[Option]], picks: Sequence[int]) -> Option:
    """Return the cost and the noise of the options that were picked, together."""
    options = [part[pick] for part, pick in zip(parts, picks, strict=True)]
    return Option(sum(option.cost for option in options), np.sum([option.noise for option in options], axis=0))
