"""Arithmetic with a constant as scale · x + shift."""

from collections.abc import Callable

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from ..constants import array, is_constant
from ..ops import ARITHMETIC, MULTIPLICATIVE, is_op

Vector = NDArray[np.float64]

SPAN = 256.0
"""The largest factor of a weight, and the inverse of the smallest: beyond it a half might not hold the product."""

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


def scalar_affine(node: ir.Node) -> tuple[float, float] | None:
    """Return the scale and the shift of arithmetic with a number; None for another node, and for a scale of 0."""
    if not is_op(node, ARITHMETIC):
        return None
    position = data_position(node)
    number, affine = number_at(node, 1 - position), AFFINE.get((node.op_type, position))
    if number is None or affine is None or (node.op_type in MULTIPLICATIVE and number == 0):
        return None
    scale, shift = affine(np.asarray(number))
    return float(scale), float(shift)


def data_position(node: ir.Node) -> int:
    """Return the first input that is no constant."""
    return 1 if len(node.inputs) == 2 and is_constant(node.inputs[0]) else 0


def number_at(node: ir.Node, position: int) -> float | None:
    """Read the number at that input of ``node``; None where it is none, or gives the data more axes."""
    operand, data = node.inputs[position], node.inputs[data_position(node)]
    if data is None or operand is None or operand.const_value is None or operand.const_value.size != 1:
        return None  # before array(), which would read a whole weight
    number, rank = array(operand), 0 if data.shape is None else len(data.shape)
    return None if number is None or number.ndim > rank else float(number.reshape(()))
