"""What the report says of limits: what was reached, why layers are in float, and why all of them may be."""

from collections.abc import Iterator
from typing import NamedTuple

from scipy.stats import t as student

from ..errors import RequantError
from ..limits import LimitRecord, Limits
from .candidates import CONFIDENCE, decibels
from .job import Job
from .judge import Measurement
from .parts import Parts
from .trials import Trials


class Costs(NamedTuple):
    """The bytes of an artifact, and the milliseconds that it and the float model are estimated to take, if known."""

    size: int | None = None
    time: float | None = None
    float_time: float | None = None


def report_limits(job: Job, measurement: Measurement, kept: int, costs: Costs) -> None:
    """Keep in the report what the plan that is taken reached, with ``kept`` layers in float for the limits."""
    job.report.limits = [*loss_records(job, measurement), *_costs(job.limits, costs)]
    layers = "no layer" if not kept else "1 layer" if kept == 1 else f"{kept} layers"
    words = "; ".join(record.words for record in job.report.limits)
    job.report.notes.append(f"{job.limits}: {words} on {job.judge.samples}, with {layers} in float for it")


def loss_records(job: Job, measurement: Measurement) -> Iterator[LimitRecord]:
    """Yield what the outputs lose."""
    limits, judge = job.limits, job.judge
    bound = measurement.bound if judge.is_confident else None
    sure = "" if bound is None else f" (at least {bound:.1f} with {CONFIDENCE:.0%} confidence)"
    words = f"{measurement.sqnr:.1f} dB{sure} at the worst output"
    yield LimitRecord("min_sqnr", limits.min_sqnr, measurement.sqnr, bound, "dB", words)
    if judge.metric is not None and measurement.score is not None:
        name, drop, error = judge.metric.name, judge.drop(measurement), judge.drop_error(job.model)
        words = f"{name} {measurement.score + 0:.4g}, {judge.float_score + 0:.4g} of the float model"
        most = None
        if error is not None:
            words += f", a drop of {drop + 0:.2g} ± {error:.2g}"
            most = drop + error * float(student.ppf(CONFIDENCE, len(judge.feeds) - 1))
        yield LimitRecord("max_drop", limits.max_drop, drop, most, name, words)


def _costs(limits: Limits, costs: Costs) -> Iterator[LimitRecord]:
    """Yield what the plan costs, as far as it has limits; a latency is told in milliseconds, whatever was asked for."""
    if limits.of_latency and costs.time is not None and costs.float_time:
        most = limits.max_latency if limits.max_share is None else limits.max_share * costs.float_time
        words = f"an estimate of {costs.time:.3g} ms, {costs.time / costs.float_time:.1%} of the float model's"
        yield LimitRecord("max_latency", most, costs.time, None, "ms", words)
    if limits.max_bytes is not None and costs.size is not None:
        yield LimitRecord("max_bytes", limits.max_bytes, costs.size, None, "bytes", f"{costs.size} bytes")


def reasons_for_float(limits: Limits, parts: Parts) -> dict[int, str]:
    """Return, for each layer by its place, why it is in float if it is."""
    if limits.min_sqnr is not None:
        of, most = f"of the noise that {limits.words['min_sqnr']} allows", 10 ** (-limits.min_sqnr / 10)
        noise = [float(one.max(initial=0.0)) for one in parts.noise]
    else:
        of, noise = f"of the noise of all layers, and {limits} is the limit", [float(one.sum()) for one in parts.noise]
        most = sum(noise) or 1.0
    return {
        layer.place: f"quantized, it would make {own / most:.0%} {of}"
        for layer, own in zip(parts.layers, noise, strict=True)
    }


def without_quantized_layers(trials: Trials) -> str:
    """Say why the model stays in float: no plan with a quantized layer holds, or float is within the limits itself.

    Raises:
        RequantError: the float model costs more than a limit allows.
    """
    job, parts = trials.job, trials.parts
    limits, judge = job.limits, job.judge
    if not trials.affords(parts.in_float):
        raise RequantError(f"{limits}: no plan was found to be within all of these; relax one of them")
    if not limits.of_loss:
        return f"the float model itself is within {limits}"
    quietest = min(
        (float(option.noise.max(initial=0.0)) for part in parts.options for option in part[:-1]), default=0.0
    )
    return (
        f"no plan with a quantized layer was found to be within {limits} "
        f"on {judge.samples}; the layer that loses least has {decibels(quietest):.1f} dB alone"
    )
