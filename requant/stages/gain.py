"""The stage that weighs the time that a plan saves against outputs that are poor: what hardly gains stays in float."""

from itertools import chain, islice

from ..passes.layer_places import placed_layers, with_refusals
from ..passes.layers_gain import layers_gain
from ..passes.regions.gain import LEAST_GAIN
from .candidates import loss_in_words
from .float_layers import float32_artifact, may_leave_layers, noise_if_poor, quantized_outputs
from .job import Job


def refuse_small_gain(job: Job) -> None:
    """Leave all layers in float where outputs are poor and the layers are hardly faster, by the engine's prices.

    As with noisy layers, a plain recipe quantizes the graph as it is, and random data tell nothing. Costs a pass over
    the held-out samples where the gain is small.
    """
    prices = job.lowering.engine.prices
    if prices is None or not may_leave_layers(job):
        return
    with job.times("judge"):
        artifact = float32_artifact(job)
        (feed,) = islice(chain(job.parts.held_out or (), job.parts.training), 1)
        layers = placed_layers(job.model, feed)
        quantized = quantized_outputs(artifact)
        gain = layers_gain(layers.values(), quantized, prices)
        noise = noise_if_poor(job, artifact) if quantized and gain < LEAST_GAIN else 0.0
        if not noise:
            return
    reason = (
        f"int8 is estimated to run the layers of the model {gain:.2f} times as fast as float, less than {LEAST_GAIN} "
        f"times, and its worst output would {loss_in_words(noise)}"
    )
    places = [layer.place for layer in layers.values() if layer.output in quantized]
    job.model = with_refusals(job.model, dict.fromkeys(places, reason))
