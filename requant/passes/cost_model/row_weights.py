"""The weights of calibration rows: one over the size of the output that each gives.

    v = 1 / max(‖x W‖², .1 · median over rows that compute anything)

Silence, padding and masked tokens are everyday data: more than half of the rows may compute exactly 0. They say nothing
about the size of the other rows, and their own error counts as that of a faint row.
"""

import numpy as np
from numpy.typing import NDArray

IDLE = 0.1
"""A row that computes less than this share of the median row counts as if it computed so much."""


def row_weights(size: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the weight of each row, [R], from ``size`` [R], the squared norm of the layer's output for it."""
    active = size[size > 0]
    floor = IDLE * float(np.median(active)) if len(active) else 1.0
    weights: NDArray[np.float64] = 1 / np.maximum(size, max(floor, float(np.finfo(np.float32).tiny)))
    return weights
