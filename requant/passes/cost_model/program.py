"""The integer program of a plan: one option for each part, at the least cost with the noise of all within bounds.

    min Σ c_pq x_pq    Σ_q x_pq = 1,    Σ n_pqo x_pq ≤ b_o,      x_pq ∈ {0, 1}
    min t              Σ_q x_pq = 1,    Σ n_pqo x_pq ≤ b_o t,    Σ c_pq x_pq ≤ c

over the options q of each part p, for each output o; and that of the least noise with the cost below a cap. A part is
what is decided for itself: a layer in int8 or in float, or the regions of a graph. Noises of parts add up where each is
measured alone. Source: HAWQ-V3 (Yao et al., 2021) for the program; the noise at the outputs in place of its Hessian.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import Bounds, LinearConstraint, milp

_GAP = 1e-4
"""The share of the cost by which the solution may miss the least one."""

_NOISE_GAP = 1e-3
"""The share of the noise by which it may: 0.004 dB."""

_NODES = 10_000
"""The most nodes of the solver's tree: a bound on its time that is the same everywhere."""

_TINY = float(np.finfo(np.float64).tiny)

Floats = NDArray[np.float64]
Picks = tuple[int, ...]
"""The number of the option that is taken, for each part."""


class Option(NamedTuple):
    """One way to run a part of a model: what it costs, the noise that it makes in each output, [O], and its bytes."""

    cost: float
    noise: Floats
    size: float = 0.0


class Caps(NamedTuple):
    """The most that all parts together may cost, and the most bytes that they may have."""

    cost: float = np.inf
    size: float = np.inf


class _Row(NamedTuple):
    """A constraint: ``matrix`` [R, Q] times the variables is at most ``most``."""

    matrix: Floats
    most: float


NO_CAPS = Caps()


def cheapest(parts: Sequence[Sequence[Option]], bounds: Floats, caps: Caps = NO_CAPS) -> Picks | None:
    """Return the cheapest options within ``bounds``, [O], and ``caps``; None where there are none.

    Of equals the quietest ones are taken: layers of one size cost the same. The bounds are above 0. Constraints are
    divided by them: the solver's tolerance would break those of 1e-5.
    """
    if not parts:
        return ()
    costs = [np.array([option.cost for option in part]) for part in parts]
    excess = np.concatenate([cost - cost.min() for cost in costs])
    shares = _noise(parts) / bounds  # [Q, O]
    is_possible = np.asarray((shares <= 1).all(axis=1))
    within = _Row(np.where(is_possible[:, None], shares, 0).T, 1)
    picks = _solved(parts, excess / max(excess.max(initial=0.0), _TINY), is_possible, [within, *_caps(parts, caps)])
    if picks is None:
        return None
    quiet = quietest(parts, bounds, caps._replace(cost=total(parts, picks).cost))
    return quiet if quiet is not None and (total(parts, quiet).noise <= bounds).all() else picks


def quietest(parts: Sequence[Sequence[Option]], bounds: Floats, caps: Caps = NO_CAPS) -> Picks | None:
    """Return the options whose noise is least in the worst output, each relative to ``bounds``, [O], within ``caps``.

    None where no choice is within these. Noise counts by that of the noisiest options together.
    """
    if not parts:
        return ()
    shares = _noise(parts) / bounds
    is_possible = np.asarray(np.isfinite(shares).all(axis=1))
    shares = np.where(is_possible[:, None], shares, 0)
    loudest = np.sum([shares[owners].max(axis=0) for owners in _owners(parts)], axis=0)
    shares = shares / max(np.max(loudest, initial=0.0), _TINY)
    below = _Row(np.vstack([shares, -np.ones(shares.shape[1])]).T, 0)  # t is the last variable
    return _solved(parts, np.append(np.zeros(len(shares)), 1.0), is_possible, [below, *_caps(parts, caps)], _NOISE_GAP)


def total(parts: Sequence[Sequence[Option]], picks: Sequence[int]) -> Option:
    """Return the cost, the noise and the bytes of the options that were picked, together."""
    options = [part[pick] for part, pick in zip(parts, picks, strict=True)]
    noise = np.sum([option.noise for option in options], axis=0)
    return Option(sum(option.cost for option in options), noise, sum(option.size for option in options))


def _noise(parts: Sequence[Sequence[Option]]) -> Floats:
    return np.array([option.noise for part in parts for option in part])


def _owners(parts: Sequence[Sequence[Option]]) -> NDArray[np.bool_]:
    """Tell of each part which of all options are its own, [P, Q]."""
    owners = np.repeat(np.arange(len(parts)), [len(part) for part in parts])
    return np.asarray(owners == np.arange(len(parts))[:, None])


def _caps(parts: Sequence[Sequence[Option]], caps: Caps) -> list[_Row]:
    """Return the constraints of ``caps``, divided by the largest number in each."""
    options = [option for part in parts for option in part]
    amounts = ([option.cost for option in options], [option.size for option in options])
    scales = [max(map(abs, numbers), default=0.0) or 1.0 for numbers in amounts]
    return [
        _Row(np.array([numbers]) / scale, cap / scale)
        for numbers, scale, cap in zip(amounts, scales, caps, strict=True)
        if np.isfinite(cap)
    ]


def _solved(
    parts: Sequence[Sequence[Option]],
    objective: Floats,
    is_possible: NDArray[np.bool_],
    rows: Sequence[_Row],
    gap: float = _GAP,
) -> Picks | None:
    """Solve the program over all options and, behind them, the variables of any size that ``objective`` has more.

    Without presolve: HiGHS 1.12, which scipy 1.17 has, prints a line to standard output where it solves what presolve
    left once more, whatever its options.
    """
    owners, more = _owners(parts), len(objective) - len(is_possible)
    one_each = np.pad(owners.astype(np.float64), ((0, 0), (0, more)))
    below = [
        LinearConstraint(np.pad(row.matrix, ((0, 0), (0, len(objective) - row.matrix.shape[1]))), ub=row.most)
        for row in rows
    ]
    result = milp(
        objective,
        integrality=np.append(np.ones(len(is_possible), np.int64), np.zeros(more, np.int64)),
        bounds=Bounds(0, np.append(is_possible.astype(np.float64), np.full(more, np.inf))),
        constraints=(*below, LinearConstraint(one_each, 1, 1)),
        options={"mip_rel_gap": gap, "node_limit": _NODES, "presolve": False},
    )
    if result.x is None:
        return None
    return tuple(int(np.argmax(result.x[: len(is_possible)][own])) for own in owners)
