"""What no engine takes."""

from . import operands, quantizers
from .rule import Rule

RULES = (
    Rule(
        "opset",
        quantizers.opset_too_high,
        "refused: {what}, the highest that the engine takes",
        "convert the model to a lower opset",
    ),
    Rule(
        "ir-version",
        quantizers.ir_version_too_high,
        "refused: {what}, the highest that the engine takes",
        "save the model with a lower IR version",
    ),
    Rule(
        "nothing-quantized",
        quantizers.nothing_quantized,
        "runs in float: {what}",
        "quantize it: requant optimize MODEL -c DATA",
    ),
    Rule(
        "scale-not-normal",
        quantizers.scale_not_normal,
        "other numbers: {what} is not caught, and overflows or loses its digits",
        "calibrate again, and bound scales from below",
    ),
    Rule(
        "float-partner",
        operands.float_partner,
        "slower: the {what} is not quantized, so the product is in float and the other's Q/DQ only costs",
        "quantize both operands, or neither",
    ),
)
"""They hold for every engine."""
