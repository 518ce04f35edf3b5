"""Cheap layers: those that make much of the noise at the model's outputs and move little of its data.

    min Σ_S t_i        Σ r - Σ_S r ≤ enough · Σ r,    Σ_S t_i ≤ 1/10 Σ t_i,    r_i ≥ 1/50 Σ r
    max Σ_S r_i        if no S leaves so little
    none               if Σ_S r < ½ Σ r

r: the noise of a layer alone (`noisy_layers`); t: the elements that it reads and writes, weights among them. These are
bytes in int8 and twice as many in float16, so that an engine that waits for memory takes at most a tenth longer.
Small networks of convolutions have such layers, the first ones and depthwise ones; half of the noise is 3 dB.
Source: ours; the program is that of HAWQ-V3 (Yao et al., 2021).
"""

from collections.abc import Mapping

import numpy as np

from .program import Caps, Option, cheapest, quietest

MOST_TRAFFIC, LEAST_SHARE, LEAST_SUM = 1 / 10, 1 / 50, 1 / 2
"""The most of the traffic, the least share of each in the noise, and the least share of all of them together."""


def cheap_layers(noise: Mapping[int, float], traffic: Mapping[int, float], enough: float = 0.0) -> dict[int, float]:
    """Return the cheap layers, each with its share of all ``noise``; ``enough`` is the share that may remain.

    ``noise`` and ``traffic`` are by the numbers of the layers.
    """
    total, caps = sum(noise.values()), Caps(MOST_TRAFFIC * sum(traffic[layer] for layer in noise))
    loud = [layer for layer in noise if noise[layer] > LEAST_SHARE * total]
    options = [(Option(0.0, np.array([noise[layer]])), Option(traffic[layer], np.zeros(1))) for layer in loud]
    quiet = total - sum(noise[layer] for layer in loud)
    allowed = min(enough, 1 - LEAST_SUM) * total - quiet
    picks = cheapest(options, np.array([allowed]), caps) if allowed > 0 else None
    picks = picks or quietest(options, np.array([total or 1.0]), caps) or ()
    shares = {layer: noise[layer] / total for layer, pick in zip(loud, picks, strict=True) if pick}
    return shares if sum(shares.values()) >= LEAST_SUM else {}
