"""The fifth stage where a call sets a limit: the cheapest plan whose outputs have ``min_sqnr`` on the judge's samples.

    min cost    Σ noise of what is in int8 ≤ allowed,    allowed ← allowed · what was wanted / what was measured

The program (`requant.passes.cost_model.program`) proposes, by the noise of each part alone; what it proposes is
measured, and what it may propose next is corrected by what that showed. The plan that is taken was measured itself.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from ..passes.cost_model.program import cheapest, total
from ..passes.layer_places import keep_places
from ..passes.layer_records import float_layers
from .candidates import decibels
from .job import Job
from .judge import Judge
from .parts import Parts, find_parts, has_regions, quantized_layers
from .plan import planned, take

ROUNDS = 6
"""The most proposals that are measured."""

_CAUTION = 0.9
"""The factor of what is allowed after a proposal that missed the limit; its fourth power after two, and so on."""

_MOST_CORRECTION = 100.0
"""The most that a proposal corrects what is allowed by: 20 dB."""


def meet_limit(job: Job) -> None:
    """Take the cheapest plan within the limit, or leave the model in float and say why.

    Costs the passes of `find_parts`, unless the plan is within it and no other one is faster, and for each proposal
    those of a measurement. The planner of regions has weighed time and noise, so that there others may be.

    Raises:
        VerificationError: a rewrite changed what the model computes.
    """
    if job.min_sqnr is None:
        return
    judge, bound = Judge.of(job), 10 ** (-job.min_sqnr / 10)
    with job.times("judge"):
        if not _has_floats(job):
            job.report.notes.append(f"min_sqnr={job.min_sqnr:g} is left aside: the model has no output of floats")
            return
        if not has_regions(job) and _worst(measured := judge.noise([job.model])[0]) <= bound:
            job.report.notes.append(_note(job, judge, measured, 0))
            return
        parts = find_parts(job, judge)
        if not parts.can_be_quantized:
            return
        found = _search(parts, judge, bound)
    if found is None:
        _leave_in_float(job, judge, parts)
        return
    picks, measured = found
    reasons = _reasons(job, parts, bound)
    job.model = parts.applied(picks, reasons)
    if (kept := parts.in_float(picks)) and not parts.regions:
        measured = _planned_anew(job, judge, {place: reasons[place] for place in kept}, bound, measured)
    job.report.notes.append(_note(job, judge, measured, len(parts.names_in_float(picks))))


def _has_floats(job: Job) -> bool:
    outputs = job.reference.graph.outputs
    return any(value.dtype is not None and value.dtype.is_floating_point() for value in outputs)


def _worst(noise: NDArray[np.float64]) -> float:
    return float(noise.max(initial=0.0))


def _search(parts: Parts, judge: Judge, bound: float) -> tuple[tuple[int, ...], NDArray[np.float64]] | None:
    """Return the cheapest of the proposals that hold, and its noise in each output; None where none does."""
    options, misses, best_cost = parts.options, 0, np.inf
    allowed = np.full(len(options[0][0].noise), bound)
    best: tuple[tuple[int, ...], NDArray[np.float64]] | None = None
    for _ in judge.job.times.steps("judge", range(ROUNDS)):
        picks = cheapest(options, allowed)
        if picks is None or parts.is_float(picks):
            break
        proposal = total(options, picks)
        if proposal.cost >= best_cost:
            break
        measured = judge.noise([parts.applied(picks, {})])[0]
        holds = _worst(measured) <= bound
        misses += not holds
        if holds:
            best, best_cost = (picks, measured), proposal.cost
        allowed = _allowed(proposal.noise, measured, bound) * (1 if holds else _CAUTION ** (misses**2))
    return best


def _allowed(predicted: NDArray[np.float64], measured: NDArray[np.float64], bound: float) -> NDArray[np.float64]:
    """Return the noise to ask for in each output, so that ``bound`` is met if the next proposal errs as this one."""
    is_noisy = (predicted > 0) & (measured > 0)
    correction = np.divide(predicted, measured, where=is_noisy, out=np.ones_like(measured))
    return bound * np.clip(correction, 1 / _MOST_CORRECTION, _MOST_CORRECTION)


def _planned_anew(
    job: Job, judge: Judge, reasons: Mapping[int, str], bound: float, measured: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Plan without work for the layers in float; take that plan if it holds too. Returns the noise of what is taken."""
    keep_places(job.unplanned, reasons)
    other, difference = planned(job.planned_by, job)
    with job.times("judge"):
        noise: NDArray[np.float64] = judge.noise([other.model])[0]
        if _worst(noise) > bound or not quantized_layers(job, judge, other.model):
            return measured
    take(other, difference, job)
    return noise


def _reasons(job: Job, parts: Parts, bound: float) -> dict[int, str]:
    """Return, for each layer by its place, why it is in float if it is."""
    reason = "quantized, it would make {:.0%} of the noise that min_sqnr={:g} allows"
    return {
        layer.place: reason.format(_worst(noise) / bound, job.min_sqnr)
        for layer, noise in zip(parts.layers, parts.noise, strict=True)
    }


def _note(job: Job, judge: Judge, noise: NDArray[np.float64], kept: int) -> str:
    reached = f"min_sqnr={job.min_sqnr:g}: {decibels(_worst(noise)):.1f} dB at the worst output on {judge.samples}"
    layers = "no layer" if not kept else "1 layer" if kept == 1 else f"{kept} layers"
    return f"{reached}, with {layers} in float for it"


def _leave_in_float(job: Job, judge: Judge, parts: Parts) -> None:
    """Finish the job in float: no plan with a quantized layer holds."""
    quietest = min((_worst(option.noise) for part in parts.options for option in part[:-1]), default=0.0)
    reason = (
        f"no plan with a quantized layer was found to have min_sqnr={job.min_sqnr:g} at every output "
        f"on {judge.samples}; the one that costs least has {decibels(quietest):.1f} dB alone"
    )
    job.report.layers = list(float_layers(job.model, reason))
    job.finish(f"nothing to quantize: {reason}")
