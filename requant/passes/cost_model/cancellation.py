"""Digits that a shift of channels takes from small rows in float32.

    y = (x - t) W + t W,    error of y ≈ ε √(Σ_c t_c² ‖w_c‖²),    whatever the size of x

A power spectrum has frames far below the middle of its range: what a shift leaves of them is rounding, and a logarithm
behind the product shows it. Values behind a norm have rows of one size, and no such frames.
"""

import numpy as np
from numpy.typing import NDArray

LOST_DIGITS = "in small rows a shift would leave float32 less than three digits"
"""The reason why the channels of a site are not shifted."""

_EPSILON = 2.0**-24
"""The relative rounding of float32."""

_TOLERANCE = 1e-3
"""The largest error of a row's outputs, relative to their size: that of `requant.runtime.verify`."""

_SMALL_ROWS = 0.01
"""The share of rows that may be worse."""


def keeps_digits(shift: NDArray[np.float64], energy: NDArray[np.float64], size: NDArray[np.float64]) -> bool:
    """Tell whether all but few rows keep their digits behind a shift.

    Args:
        shift: t of each channel, [K].
        energy: Σ w² over all that the consumers multiply each channel by, [K].
        size: the squared norm of the consumers' outputs for each row, [R]; rows without any output do not count.
    """
    outputs = np.sqrt(size[size > 0])
    error = _EPSILON * np.sqrt((np.square(shift) * energy).sum())
    return float((error > _TOLERANCE * outputs).mean()) <= _SMALL_ROWS if outputs.size else True
