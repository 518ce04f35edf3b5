"""What keeps scales finite, positive and near 1."""

import numpy as np
from numpy.typing import NDArray

_NOTHING = float(np.finfo(np.float32).eps)
"""Share of the largest value below which float32 no longer tells a value from 0 next to it."""


def filled(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """``values`` ≥ 0 of shape [C], with the geometric mean of the others for each that is next to nothing.

    A channel that was never seen to move says nothing about its scale: it counts as a typical one, so that data that
    nobody has seen are not clipped there.
    """
    known = values > _NOTHING * values.max()
    typical = np.exp(np.log(values[known]).mean()) if known.any() else 1.0
    return np.where(known, values, typical)


def centred(scale: NDArray[np.float64]) -> NDArray[np.float64]:
    """``scale`` over the root of its largest times its smallest: keeps γ and W near where they were."""
    near_one: NDArray[np.float64] = scale / np.sqrt(scale.max() * scale.min())
    return near_one
