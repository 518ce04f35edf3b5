"""Search for a plan within limits: the cheapest one whose loss is within them, or that of least loss at their cost.

    min cost    Σ noise of what is in int8 ≤ allowed,    allowed ← allowed · what was wanted / what was measured
    min noise   cost ≤ halfway from the dearest plan that misses to the cheapest that holds

The programs (`requant.passes.cost_model.program`) propose, by the noise of each part alone; what they propose is
measured, and corrects what the first one may propose next. The second one narrows down what the first one found, and
finds everything where a metric is the limit, which no noise bounds. The plan that is taken was measured itself.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from ..passes.cost_model.program import Caps, Picks, cheapest, quietest, total
from .find_parts import regions_between
from .trials import Trial, Trials, is_better

_CAUTION = 0.9
"""The factor of what is allowed after a proposal that missed the limit; its fourth power after two, and so on."""

_MOST_CORRECTION = 100.0
"""The most that a proposal corrects what is allowed by: 20 dB."""

_NARROW = 1e-3
"""The share of the cost of float beyond the cheapest plan that is too little to look for a plan within."""


def cheapest_trial(trials: Trials) -> Trial | None:
    """Return the cheapest of the trials that hold; None where none does."""
    limits, effort = trials.job.limits, trials.job.effort
    outputs = len(trials.parts.options[0][0].noise)
    weights, tried = np.ones(outputs), list[Trial]()
    if limits.min_sqnr is not None:
        tried, weights = _by_noise(trials, 10 ** (-limits.min_sqnr / 10), effort.proposals)
    count = effort.refinements + (effort.proposals if limits.min_sqnr is None else 0)
    for picks in _between(trials, tried, weights, count):
        tried.append(trials.of(picks))
    best = _cheapest([trial for trial in tried if trials.holds(trial)])
    return _cheapest([*([] if best is None else [best]), *_faster_regions(trials, best)])


def quietest_trial(trials: Trials) -> Trial | None:
    """Return the trial of least loss among those that the limits of the cost allow; None where there is none.

    Noise that does not add up may make a plan better that costs less, so that several shares of what the limits leave
    are tried.
    """
    options, effort = trials.parts.options, trials.job.effort
    outputs, best = len(options[0][0].noise), None
    least = trials.parts.cost(trials.parts.fastest), trials.parts.size(trials.parts.smallest)
    for number in range(effort.proposals):
        share = 1 - number / effort.proposals
        caps = (
            low + share * (cap - low) if np.isfinite(cap) else cap for low, cap in zip(least, trials.caps, strict=True)
        )
        picks = quietest(options, np.ones(outputs), Caps(*caps))
        if picks is None:
            continue
        trial = trials.of(picks)
        if trials.holds(trial) and (best is None or is_better(trials.job.judge, trial.measurement, best.measurement)):
            best = trial
    for picks in (trials.parts.fastest, trials.parts.smallest):
        if best is None and trials.holds(trial := trials.of(picks)):
            best = trial
    for trial in () if best is None else _slower_regions(trials, best):
        best = trial if best is None or is_better(trials.job.judge, trial.measurement, best.measurement) else best
    return best


def _faster_regions(trials: Trials, best: Trial | None) -> Iterator[Trial]:
    """Yield trials that hold with faster regions than ``best``: further ones, between those that were measured alone.

    Half of what is left between the last that holds and the last that misses is tried each time.
    """
    parts, picks = trials.parts, trials.parts.in_float if best is None else best.picks
    slow = picks[-1] if parts.regions else 0
    if slow == 0:
        return
    left, steps = regions_between(trials.job, parts, slow - 1), trials.job.effort.refinements
    while left and steps:
        middle, steps = len(left) // 2, steps - 1
        trial = trials.of((*picks[:-1], left[middle]))
        if trials.holds(trial):
            yield trial
            left = left[:middle]
        else:
            left = left[middle + 1 :]


def _slower_regions(trials: Trials, best: Trial) -> Iterator[Trial]:
    """Yield trials that hold with slower regions than ``best``, as far as the limits of the cost allow."""
    parts, fast = trials.parts, best.picks[-1]
    if not parts.regions or fast >= len(parts.regions) - 1:
        return
    numbers = regions_between(trials.job, parts, fast)
    affordable = [picks for number in numbers if trials.affords(picks := (*best.picks[:-1], number))]
    for picks in affordable[::-1][: trials.job.effort.refinements]:
        yield trials.of(picks)


def _cheapest(trials: list[Trial]) -> Trial | None:
    return min(trials, key=lambda trial: (trial.cost, -trial.measurement.sqnr), default=None)


def _by_noise(trials: Trials, bound: float, proposals: int) -> tuple[list[Trial], NDArray[np.float64]]:
    """Try what is cheapest by the noise that is allowed; returns the trials, and the last noise that was allowed."""
    parts, misses, best_cost, tried = trials.parts, 0, np.inf, list[Trial]()
    allowed = np.full(len(parts.options[0][0].noise), bound)
    for _ in trials.job.times.steps("judge", range(proposals)):
        picks = cheapest(parts.options, allowed, trials.caps)
        if picks is None or parts.is_float(picks):
            break
        proposal = total(parts.options, picks)
        if proposal.cost >= best_cost:
            break
        trial = trials.of(picks)
        tried.append(trial)
        holds = trials.holds(trial)
        misses += not holds
        best_cost = proposal.cost if holds else best_cost
        correction = _correction(proposal.noise, trial.measurement.likely_noise)
        allowed = bound * correction * (1 if holds else _CAUTION ** (misses**2))
    return tried, allowed


def _correction(predicted: NDArray[np.float64], measured: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the factor of the noise to ask for in each output, if the next proposal errs as this one."""
    is_noisy = (predicted > 0) & (measured > 0)
    correction = np.divide(predicted, measured, where=is_noisy, out=np.ones_like(measured))
    clipped: NDArray[np.float64] = np.clip(correction, 1 / _MOST_CORRECTION, _MOST_CORRECTION)
    return clipped


def _between(trials: Trials, tried: list[Trial], weights: NDArray[np.float64], count: int) -> Iterator[Picks]:
    """Yield the quietest choices between the dearest trial that misses and the cheapest that holds, ``count`` at most.

    The caller appends the trial of each to ``tried`` before the next. The float model holds, where its cost is allowed.
    """
    parts = trials.parts
    least, most = (parts.cost(picks) for picks in (parts.fastest, parts.in_float))
    low = least
    for _ in trials.job.times.steps("judge", range(count)):
        best = _cheapest([trial for trial in tried if trials.holds(trial)])
        high = most if best is None else best.cost
        low = max([low, *(trial.cost for trial in tried if trial.cost < high and not trials.holds(trial))])
        picks = None
        while high - low > _NARROW * (most - least) and picks is None:
            middle = (low + high) / 2
            picks = quietest(parts.options, weights, trials.caps._replace(cost=min(middle, trials.caps.cost)))
            if picks is None or any(trial.picks == picks for trial in tried) or parts.cost(picks) <= low:
                low, picks = middle, None
        if picks is None:
            return
        yield picks
