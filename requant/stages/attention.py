"""The stage behind the plan: attention in 8 bits, where a call asks for it, or a recipe where that loses little."""

from itertools import islice

import onnx_ir as ir

from ..calib.holdout import MOST
from ..ir.attention import find_attentions
from ..ir.formats import Format
from ..lowering import runnable
from ..passes.annotations import ATTENTION, ATTENTION_REFUSAL
from ..passes.plan_attention import PlanAttention, forget_attention
from .candidates import decibels, noise
from .job import Job

MOST_LOSS = 0.3
"""The most decibels that attention in 8 bits may lose unasked: less than plans differ by chance."""


def plan_attention(job: Job, model: ir.Model, layer_format: Format) -> None:
    """Plan the attentions of ``model``, which has the job's quantizers, in ``layer_format``."""
    lowering = job.lowering
    PlanAttention(job.parts.training, layer_format, lowering.engine, lowering.body)(model)


def choose_attention(job: Job) -> None:
    """Tell what attention costs in the format that the call asks for; or take a recipe's where it loses little.

    A limit takes none unasked. Costs two passes over the samples that judge, and where it is not asked
    for a pass over the calibration data.
    """
    data = job.parts.training
    if job.attention is not None:
        _tell(job)
    elif job.attention_open and not job.limits and job.calibrated and not data.random:
        for layer_format in job.recipe.attention:
            if job.attention is None and layer_format.activations in job.lowering.engine.attention:
                _take_if_free(job, layer_format)


def _take_if_free(job: Job, layer_format: Format) -> None:
    """Plan attention in ``layer_format`` too, and take that plan if it loses `MOST_LOSS` at most."""
    other = job.model.clone()
    plan_attention(job, other, layer_format)
    blocks = _planned(other)
    if not blocks:
        return
    loss, samples = _loss(job, job.model, other)
    if loss > MOST_LOSS:
        job.report.notes.append(
            f"attention stays in float: in {_name(layer_format)} it loses {loss:.1f} dB on {samples}; "
            f"attention={_name(layer_format)!r} takes it all the same"
        )
        return
    job.model, job.attention = other, layer_format
    job.report.notes.append(f"attention in {_name(layer_format)}, {blocks} of it: {-loss:+.1f} dB on {samples}")


def _tell(job: Job) -> None:
    """Note what the attention of the job's plan costs, and which stays in float."""
    assert job.attention is not None
    name, blocks = _name(job.attention), list(find_attentions(job.model.graph))
    refusals = dict.fromkeys(refusal.reason for one in blocks if (refusal := ATTENTION_REFUSAL.get(one.mixture)))
    reasons = f" ({'; '.join(refusals)})" if refusals else ""
    planned = _planned(job.model)
    if not planned:
        what = reasons or " (there are none of two products and a softmax)"
        job.report.notes.append(f"no attention in {name}{what}")
        return
    other = job.model.clone()
    forget_attention(other)
    loss, samples = _loss(job, other, job.model)
    job.report.notes.append(f"attention in {name}, {planned} of {len(blocks)}{reasons}: {-loss:+.1f} dB on {samples}")


def _planned(model: ir.Model) -> int:
    return sum(ATTENTION.get(block.mixture) is not None for block in find_attentions(model.graph))


def _loss(job: Job, present: ir.Model, other: ir.Model) -> tuple[float, str]:
    """Return the decibels by which ``other`` is noisier than the ``present`` plan, and the samples that say so."""
    held_out = job.parts.held_out
    feeds, origin = (job.parts.training, "calibration") if held_out is None else (held_out, "held-out")
    with job.times("judge"):
        artifacts = [runnable(job.lowering.in_float32.apply(plan, job.report)) for plan in (present, other)]
        before, after = noise(job.reference, artifacts, islice(feeds, MOST))
    return decibels(before.sum()) - decibels(after.sum()), f"{len(before)} {origin} batches"


def _name(layer_format: Format) -> str:
    return "fp8" if layer_format.weights.is_floating_point() else "int8"
