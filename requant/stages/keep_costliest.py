"""The stage for ``keep=3``: the layers that cost the outputs most stay in float, the plan is made without them."""

import numpy as np

from ..passes.layer_places import keep_places
from .candidates import decibels
from .find_parts import noise_alone, quantized_layers
from .job import Job
from .plan import planned, take


def keep_costliest_layers(job: Job) -> None:
    """Leave as many of the layers in float as the call asks for, and plan anew.

    The order is that of `requant.advise`: by the noise of a layer alone, all others in float, over all outputs. Layers
    that are in float anyway do not count.

    Raises:
        VerificationError: a rewrite changed what the model computes.
    """
    if not job.keep_count:
        return
    with job.times("judge"):
        layers = quantized_layers(job, job.model)
        noise = [float(one.sum()) for one in noise_alone(job, job.model, layers)]
    costliest = np.argsort(noise, kind="stable")[::-1][: job.keep_count]
    reason = "kept by request: of all layers it is number {}, with {:.1f} dB at the outputs alone"
    reasons = {
        layers[number].place: reason.format(rank, decibels(noise[number])) for rank, number in enumerate(costliest, 1)
    }
    keep_places(job.unplanned, reasons)
    take(*planned(job.planned_by, job), job)
