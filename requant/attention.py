"""The formats that a call may ask for in the products of attention."""

from typing import Literal, get_args

from .choices import require_choice
from .errors import RequantError, TargetError
from .ir.formats import FP8, INT8, Format
from .runtime.targets import TARGETS, Target

Attention = Literal["float", "fp8", "int8"]
"""What the operands of an attention are quantized to: Q, K, V and the softmax, or none of them."""

_FORMATS = {"fp8": FP8, "int8": INT8}


def require_attention(word: Attention | None, engine: Target, *, calibrated: bool) -> Format | None:
    """Return the format that ``word`` names; None for float.

    Raises:
        RequantError: there is no such format, or no data to find ranges with.
        TargetError: the engine has no kernel for it.
    """
    if word is None:
        return None
    require_choice("attention", word, get_args(Attention))
    if word == "float":
        return None
    asked = _FORMATS[word]
    if asked.weights not in engine.attention:
        having = ", ".join(name for name, row in TARGETS.items() if asked.weights in row.attention)
        raise TargetError(f"{engine.name} has no attention in {word}: choose one of {having}")
    if not calibrated:
        raise RequantError(f"attention={word!r} needs calibration data: the ranges of Q, K and V")
    return asked
