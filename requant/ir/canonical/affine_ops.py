"""Arithmetic with a constant as scale · x + shift."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float64]

AFFINE: dict[tuple[str, int], Callable[[Vector], tuple[Vector | float, Vector | float]]] = {
    ("Mul", 0): lambda vector: (vector, 0.0),
    ("Mul", 1): lambda vector: (vector, 0.0),
    ("Div", 0): lambda vector: (1 / vector, 0.0),
    ("Add", 0): lambda vector: (1.0, vector),
    ("Add", 1): lambda vector: (1.0, vector),
    ("Sub", 0): lambda vector: (1.0, -vector),
    ("Sub", 1): lambda vector: (-1.0, vector),
}
"""Scale and shift of an op with data at that input and a constant at the other."""
