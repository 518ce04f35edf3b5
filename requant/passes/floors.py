"""Biases that are none: an epsilon that keeps a logarithm, a root or a quotient finite.

log(x W + ε)        ε is there for what it prevents; a correction of the mean, however small, would undo it
"""

from ..ir.linear import Linear
from ..ir.outlets import MOVES
from ..ir.traverse import consumers

_SINGULAR = frozenset({"Div", "Log", "Pow", "Reciprocal", "Sqrt"})
"""Ops that are NaN or infinite on one side of 0."""

_THROUGH = MOVES | {"Abs", "Cast", "Clip", "Identity", "Max", "Relu", "Sum"}


def is_floor(linear: Linear) -> bool:
    """Whether what ``linear`` adds, or might add, to its product is no bias to correct."""
    if linear.bias is not None:
        bias = linear.bias[0].inputs[linear.bias[1]]
        assert bias is not None
        assert bias.shape is not None
        if linear.outputs > 1 and all(size == 1 for size in bias.shape):
            return True
    return any(node.op_type in _SINGULAR for node, _ in consumers(linear.output, _THROUGH))
