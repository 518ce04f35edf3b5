"""How much each calibration row counts: one over what it makes a layer compute.

    v = 1 / max(‖x W‖², .1 · median over rows that compute anything)

Silence, padding and masked tokens are everyday data: more than half of the rows may compute exactly 0. They say nothing
about the size of the others, and their own error counts as that of a faint row.
"""

import numpy as np
from numpy.typing import NDArray

IDLE = 0.1
"""A row that computes less than this share of the median row counts as if it computed so much."""


def row_weights(size: NDArray[np.float64]) -> NDArray[np.float64]:
    """The weight of each row, [R], by ``size`` [R], the squared norm of what it makes a layer compute."""
    loud = size[size > 0]
    faint = IDLE * float(np.median(loud)) if len(loud) else 1.0
    weights: NDArray[np.float64] = 1 / np.maximum(size, max(faint, float(np.finfo(np.float32).tiny)))
    return weights
