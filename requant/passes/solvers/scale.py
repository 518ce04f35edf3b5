"""Helpers that keep scales finite, positive and near 1."""

import numpy as np
from numpy.typing import NDArray

_NOTHING = float(np.finfo(np.float32).eps)
"""Share of the largest value below which float32 no longer tells a value from 0 next to it."""


def filled(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return ``values`` ≥ 0 of shape [C], with the geometric mean of the rest for each that is next to nothing.

    A channel that is constant in calibration says nothing about its scale: it counts as a typical one, so that other
    data are not clipped there.
    """
    is_active = values > _NOTHING * values.max()
    typical = np.exp(np.log(values[is_active]).mean()) if is_active.any() else 1.0
    return np.where(is_active, values, typical)


def centred(scale: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return ``scale`` over the root of its largest times its smallest, which keeps γ and W near where they were."""
    near_one: NDArray[np.float64] = scale / np.sqrt(scale.max() * scale.min())
    return near_one
