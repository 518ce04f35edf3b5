"""Cross-layer equalization: d = sqrt(r₁ / r₂), for a channel's weights to reach as far in producers as in consumers."""

from dataclasses import dataclass

import numpy as np

from ...ir.transform.transform import ChannelTransform
from ..cost_model.observation import Observation


@dataclass(frozen=True)
class CrossLayerEqualization:
    """d_c = sqrt(r₁ / r₂), with r₁ and r₂ the largest |w| of the producers and of the consumers of channel c; t = 0.

    Depends on weights only. Both ranges become sqrt(r₁ r₂), which is what quantizers with one scale for a whole weight
    need. Channels that no quantized layer produces keep d = 1.

    The paper also moves t = max(0, β - 3γ) through the ReLU between the layers, with the mean β and the deviation γ of
    the channel. That is omitted: max(x, 0) - t = max(x - t, 0) only where x ≥ t, which the rare value below breaks;
    and where the way between the layers is linear, the channel's centre is the better t.

    Source: Data-Free Quantization (Nagel et al., 2019), section 4.1.
    """

    def __str__(self) -> str:
        return "cross-layer equalization"

    def __call__(self, observation: Observation) -> ChannelTransform:
        producers, consumers = observation.producer_reach, observation.weight_reach
        if producers is None:
            return ChannelTransform.identity(observation.channels)
        where = (producers > 0) & (consumers > 0)
        ratio = np.divide(producers, consumers, out=np.ones_like(consumers), where=where)
        return ChannelTransform(np.sqrt(ratio), np.zeros(observation.channels))
