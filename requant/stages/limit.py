"""The fifth stage where a call sets limits: the cheapest plan within its loss, or the best one within its cost."""

from collections.abc import Mapping
from copy import copy
from dataclasses import replace

from ..errors import RequantError
from ..passes.layer_places import keep_places, with_refusals
from ..passes.layer_records import float_layers
from .find_parts import find_parts, has_regions, quantized_layers
from .job import Job, PlannedAnew
from .limit_report import Costs, loss_records, reasons_for_float, report_limits, without_quantized_layers
from .plan import planned, take
from .search import cheapest_trial, quietest_trial
from .trials import Trial, Trials, artifact_size, is_better, meets_loss, plan_measured


def meet_limits(job: Job) -> None:
    """Take the plan that the limits ask for, or leave the model in float and say why.

    Costs the passes of `find_parts`, unless the loss alone has a limit, the plan is within it and no other one is
    faster; and for each trial those of a measurement. The planner of regions has weighed time and noise, so that there
    others may be.

    Raises:
        RequantError: no plan is within the limits of the cost.
        VerificationError: a rewrite changed what the model computes.
    """
    _leave_aside(job)
    if not job.limits:
        _report_metric(job)
        return
    with job.times("judge"):
        if _holds_as_it_is(job):
            report_limits(job, plan_measured(job), 0, Costs(_size(job)))
            return
        trials = Trials(job, find_parts(job))
        _require_reachable(trials)
        if not trials.parts.can_be_quantized:
            return
        trial = cheapest_trial(trials) if job.limits.of_loss else quietest_trial(trials)
    if trial is None or trials.parts.is_float(trial.picks):
        _leave_in_float(trials)
        return
    _take(trials, trial)


def _report_metric(job: Job) -> None:
    """Keep the metric in the report where it limits nothing."""
    if job.metric is not None:
        with job.times("judge"):
            job.report.limits = list(loss_records(job, job.judge.measured(job.model)))


def _leave_aside(job: Job) -> None:
    """Forget the limit of an SQNR that no output has."""
    outputs = job.reference.graph.outputs
    has_floats = any(value.dtype is not None and value.dtype.is_floating_point() for value in outputs)
    if job.limits.min_sqnr is not None and not has_floats:
        job.report.notes.append(f"{job.limits.words['min_sqnr']} is left aside: the model has no output of floats")
        job.limits = replace(job.limits, min_sqnr=None)


def _holds_as_it_is(job: Job) -> bool:
    """Tell whether the plan of the job is within the limits, and none can be cheaper."""
    limits = job.limits
    if not limits.of_loss or limits.of_latency or has_regions(job):
        return False
    size = _size(job)
    fits = limits.max_bytes is None or size is None or size <= limits.max_bytes
    return fits and meets_loss(limits, job.judge, plan_measured(job))


def _size(job: Job) -> int | None:
    """Return the bytes of the artifact of the job's plan, if they have a limit."""
    return None if job.limits.max_bytes is None else artifact_size(job, job.model)


def _require_reachable(trials: Trials) -> None:
    """Raise RequantError if even the cheapest plan costs more than a limit allows."""
    parts, limits = trials.parts, trials.job.limits
    if limits.max_bytes is not None:
        least = min(trials.size(picks) for picks in (parts.smallest, parts.in_float))
        if least > limits.max_bytes:
            raise RequantError(f"{limits.words['max_bytes']}: no plan is as small, the least has {least} bytes")
    if not trials.is_fast(parts.fastest):
        fastest, in_float = trials.milliseconds(parts.fastest), trials.milliseconds(parts.in_float)
        raise RequantError(
            f"{limits.words['max_latency']}: no plan is estimated to be as fast, the least is {fastest:.3g} ms, "
            f"{fastest / in_float:.1%} of the float model's"
        )


def _take(trials: Trials, trial: Trial) -> None:
    """Take the plan of ``trial``, or one planned without work for its layers in float, where that is no worse."""
    job, parts = trials.job, trials.parts
    reasons = reasons_for_float(job.limits, parts)
    job.model, measurement, size = parts.applied(trial.picks, reasons), trial.measurement, trial.size
    if (kept := parts.layers_in_float(trial.picks)) and not parts.regions:
        kept_reasons = {place: reasons[place] for place in (parts.layers[number].place for number in kept)}
        anew = _planned_anew(job, kept_reasons)
        if _is_no_worse(job, anew, trial):
            take(anew.job, anew.difference, job)
            job.model, measurement, size = with_refusals(anew.job.model, kept_reasons), anew.measurement, anew.size
    times = [trials.milliseconds(picks) for picks in (trial.picks, parts.in_float)]
    report_limits(job, measurement, len(parts.names_in_float(trial.picks)), Costs(size, *times))


def _planned_anew(job: Job, reasons: Mapping[int, str]) -> PlannedAnew:
    """Plan without work for the layers at the places of ``reasons``, and measure that plan; once for all limits."""
    memory, places = job.memory, frozenset(reasons)
    if places not in memory.planned_anew:
        start = copy(job)
        start.unplanned = job.unplanned.clone()
        keep_places(start.unplanned, reasons)
        other, difference = planned(job.planned_by, start)
        with job.times("judge"):
            is_quantized = bool(quantized_layers(job, other.model))
            measurement = job.judge.measured(other.model)
            size = artifact_size(job, other.model)
        memory.planned_anew[places] = PlannedAnew(other, difference, measurement, size, is_quantized)
    return memory.planned_anew[places]


def _is_no_worse(job: Job, anew: PlannedAnew, trial: Trial) -> bool:
    """Tell whether a plan that was made anew is within the limits as well, and better where the cost alone has some."""
    limits = job.limits
    fits = limits.max_bytes is None or anew.size <= limits.max_bytes
    if not fits or not anew.is_quantized:
        return False
    if limits.of_loss:
        return meets_loss(limits, job.judge, anew.measurement)
    return is_better(job.judge, anew.measurement, trial.measurement)


def _leave_in_float(trials: Trials) -> None:
    """Finish the job in float: no plan with a quantized layer holds, or the float model is within the limits itself.

    Raises:
        RequantError: the float model costs more than a limit allows.
    """
    job = trials.job
    reason = without_quantized_layers(trials)
    job.report.layers = list(float_layers(job.model, reason))
    job.finish(f"nothing to quantize: {reason}")
