"""Noisy layers: the few that make nearly all of the noise at the model's outputs, each measured alone.

    r_i = Σ over outputs of ‖y(x̂_i) - y‖² / ‖y‖²        x̂_i: the data of layer i, as its planned quantizer leaves them
    S   = layers by falling r, until  Σ r - Σ_S r ≤ enough · Σ r,  as long as  r_i ≥ ⅓ (Σ r - Σ_S r)  and  |S| ≤ ½ n
          none  if  Σ_S r < ¾ Σ r

A power spectrum whose logarithm is taken has more digits than 8 bits: all that is quiet is rounded to 0. At the layer
itself that is negligible, so that only the outputs tell. The noises of layers alone, with all others in float, add up
well; what one changes beside all others is mostly chance. Three quarters are 6 dB, or one bit. Source: ours.
"""

from collections.abc import Collection, Mapping, Sequence

import numpy as np
import onnx_ir as ir

from ...ir.linear import Linear, find_linears
from ...ir.quantized import is_partly_quantized
from ...ir.quantizer import quantizer
from ...runtime.feeds import Feed
from ...runtime.session import runner
from ..annotations import PLACE
from ..layer_places import keep_places
from .sensitivity import RoundingStep, SensitivityProbe, insert_probe, probed_outputs

MOST_RUNS = 256
"""The most runs of the model, unless it has more layers."""

LEAST_SHARE, MOST_LAYERS, LEAST_SUM = 1 / 3, 1 / 2, 3 / 4
"""The least share of each in the noise that remains, the most layers, and the least share of all of them together."""

_LOST = 1e30
"""The noise of a layer that loses values, or turns them into NaN or infinity."""


def noise_of_layers(plan: ir.Model, quantized: Collection[str], feeds: Sequence[Feed]) -> dict[int, float]:
    """Measure the noise of each layer of a ``plan`` alone, by its number, in the first ``feeds``; none of a single one.

    ``quantized`` are the outputs of the layers that the engine runs in int8.
    """
    probed = plan.clone()
    linears = [linear for linear in find_linears(probed.graph) if linear.output.name in quantized]
    layers = {place: linear for linear in linears if (place := PLACE.get(linear.node)) is not None}
    steps = {place: step for place, linear in layers.items() if (step := _step(linear)) is not None}
    if len(steps) < 2:
        return {}
    probes = {
        str(place): insert_probe(probed.graph, layers[place].data, [(layers[place].node, 0)], bits=8)[0]
        for place in steps
    }
    run, few = runner(probed, optimized=not is_partly_quantized(plan)), tuple(feeds[: max(1, MOST_RUNS // len(steps))])
    expected = tuple(probed_outputs(run, feed, probes, {}) for feed in few)
    probe = SensitivityProbe(run, probes, few, expected)
    return {place: _noise(probe, {str(place): step}) for place, step in steps.items()}


def noisy_layers(noise: Mapping[int, float], enough: float = 0.0) -> dict[int, float]:
    """Return the noisy layers, each with its share of all ``noise``; ``enough`` is the share that may remain."""
    remaining = total = sum(noise.values())
    shares: dict[int, float] = {}
    for place in sorted(noise, key=lambda place: -noise[place])[: int(MOST_LAYERS * len(noise))]:
        if remaining <= enough * total or noise[place] < LEAST_SHARE * remaining:
            break
        shares[place] = noise[place] / total
        remaining -= noise[place]
    return shares if sum(shares.values()) >= LEAST_SUM else {}


def keep_in_float(model: ir.Model, shares: Mapping[int, float]) -> None:
    """Refuse the layers of ``model`` whose numbers are in ``shares``."""
    reason = "in int8 it would make {:.0%} of the noise at the model's outputs"
    keep_places(model, {place: reason.format(share) for place, share in shares.items()})


def _step(linear: Linear) -> RoundingStep | None:
    """Return the rounding that is planned for the data of ``linear``; None where they stay in float, or are e4m3."""
    plan = quantizer(linear.data)
    if plan is None or plan.dtype != ir.DataType.INT8 or linear.data.dtype != ir.DataType.FLOAT:
        return None
    zero_point = np.zeros(1, np.float32) if plan.zero_point is None else plan.zero_point
    scale = np.asarray(plan.scale, np.float32)
    return RoundingStep(scale.reshape(1), (-zero_point * scale).reshape(1).astype(np.float32))


def _noise(probe: SensitivityProbe, steps: Mapping[str, RoundingStep]) -> float:
    """Return the noise of rounding by ``steps``, relative to each output that is not 0 in all feeds."""
    size = np.sum([[np.square(y[np.isfinite(y)]).sum() for y in outputs] for outputs in probe.expected], axis=0)
    noise = probe.noise(steps, len(probe.feeds)).sum(axis=0)
    return min(float((noise[size > 0] / size[size > 0]).sum()), _LOST)
