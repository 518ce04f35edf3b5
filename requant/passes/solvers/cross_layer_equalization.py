"""d = sqrt(r₁ / r₂): a channel's weights reach as far in the layer that writes it as in those that read it."""

from dataclasses import dataclass

import numpy as np

from ...ir.transform.transform import ChannelTransform
from ..cost_model.observation import Observation


@dataclass(frozen=True)
class CrossLayerEqualization:
    """d_c = sqrt(r₁ / r₂), with r₁ the largest |w| that writes channel c and r₂ the largest that reads it; t = 0.

    Looks at weights only. Both ranges become sqrt(r₁ r₂), which is what quantizers with one scale for a whole weight
    need. Channels that no quantized layer writes keep d = 1.

    The paper also moves t = max(0, β - 3γ) through the ReLU between the layers, with the mean β and the deviation γ of
    the channel. That is left out: max(x, 0) - t = max(x - t, 0) only where x ≥ t, which the rare value below breaks;
    and where the way between the layers is linear, the channel's centre is the better t.

    Source: Data-Free Quantization (Nagel et al., 2019), section 4.1.
    """

    def __call__(self, observation: Observation) -> ChannelTransform:
        written, read = observation.written, observation.weight_reach
        if written is None:
            return ChannelTransform.identity(observation.channels)
        ratio = np.divide(written, read, out=np.ones_like(read), where=(written > 0) & (read > 0))
        return ChannelTransform(np.sqrt(ratio), np.zeros(observation.channels))
