"""The stage that leaves the only layer in int8 in float where an output would be hardly more than noise.

    Σ (y - ŷ)² > ⅒ Σ y²

Among several layers the noisy ones are told by their shares of the noise; one alone makes all of it. The filters of a
spectrogram are such a layer, where a logarithm is taken of what they put out.
"""

from itertools import chain, islice

from ..passes.layer_places import placed_layers, with_refusals
from .candidates import loss_in_words
from .float_layers import float32_artifact, may_leave_layers, noise_if_poor, quantized_outputs
from .job import Job

_MOST_NOISE = 0.1
"""The most noise of the worst output, over its signal: 10 dB."""


def leave_lone_layer(job: Job) -> None:
    """Refuse the only layer in int8 if an output would be hardly more than noise.

    As with noisy layers, a plain recipe quantizes the graph as it is, and random data tell nothing. Costs a pass over
    the held-out samples where there is one layer in int8.
    """
    if not may_leave_layers(job):
        return
    with job.times("judge"):
        artifact = float32_artifact(job)
        quantized = quantized_outputs(artifact)
        noise = noise_if_poor(job, artifact) if len(quantized) == 1 else 0.0
        if noise <= _MOST_NOISE:
            return
        (feed,) = islice(chain(job.parts.held_out or (), job.parts.training), 1)
        places = [layer.place for layer in placed_layers(job.model, feed).values() if layer.output in quantized]
    reason = f"it would be the only layer in int8, and the model's worst output would {loss_in_words(noise)}"
    job.model = with_refusals(job.model, dict.fromkeys(places, reason))
