"""The factor that all channels' scales share, so that values reach as far as they did before:

    d ← 2^k d        k = round(log2( max_c |x_c - t_c| / d_c  /  max_c |x_c| ))

No quantized value depends on it, and a power of two costs no float a digit. But values of another order, and the scales
of their quantizers, may lie where float16 has few numbers or none.
"""

from dataclasses import replace

import numpy as np

from ...ir.transform.transform import ChannelTransform
from .observation import Observation


def normalize_scale(transform: ChannelTransform, observation: Observation) -> ChannelTransform:
    """Return ``transform`` with the shared factor of its scales chosen for the values of ``observation``."""
    before = observation.reach(np.zeros(observation.channels)).max()
    after = (observation.reach(transform.shift) / transform.scale).max()
    if not transform.scales or before <= 0 or after <= 0:
        return transform
    return replace(transform, scale=np.ldexp(transform.scale, round(float(np.log2(after / before)))))
