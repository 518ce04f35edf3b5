"""Epsilons: biases that keep a logarithm, a root or a quotient finite, and are not to be corrected.

log(x W + ε)        ε is there for what it prevents; a correction of the mean, however small, would undo it
"""

import onnx_ir as ir

from ..ir.constants import array
from ..ir.linear import Linear
from ..ir.ops import CLIPPING, COMMUTING, CONVERSIONS, LOWER_BOUNDS, SIGN_CHANGES
from ..ir.traverse import consumers

_SINGULAR = {"Div": 1, "Log": 0, "Pow": 0, "Reciprocal": 0, "Sqrt": 0}
"""Ops that are NaN or infinite at 0 or on one side of it, and the input for which that is so."""

_THROUGH = COMMUTING | CLIPPING | LOWER_BOUNDS | CONVERSIONS | (SIGN_CHANGES - {"Neg"}) | {"Sum"}
"""Ops between a product and the singular op: they move elements, clip them, or add several such epsilons up."""


def is_floor(linear: Linear) -> bool:
    """Tell whether the bias of ``linear``, or one that it might get, guards a singular op and must stay as it is."""
    if linear.bias is not None:
        bias = linear.bias[0].inputs[linear.bias[1]]
        assert bias is not None
        assert bias.shape is not None
        if linear.outputs > 1 and all(size == 1 for size in bias.shape):
            return True
    return any(_is_singular(node, position) for node, position in consumers(linear.output, _THROUGH))


def _is_singular(node: ir.Node, position: int) -> bool:
    if node.op_type == "Pow":
        exponent = array(node.inputs[1])
        is_polynomial = exponent is not None and all(_is_positive_integer(float(power)) for power in exponent.flat)
        return position == 0 and not is_polynomial
    return _SINGULAR.get(node.op_type) == position


def _is_positive_integer(power: float) -> bool:
    return power > 0 and power.is_integer()
