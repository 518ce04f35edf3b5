"""The rules and the safe fixes that all engines share, and the versions of ONNX Runtime."""

from ..fixes import biases, dequantize, ir_version, remove_qdq, requantize
from ..fixes.safe_fix import FixTable, SafeFix, each
from ..rules import operands, quantizers
from ..rules.rule import Rule
from ..versions import FIRST

ONNXRUNTIME = ("onnxruntime", "onnxruntime-gpu", "onnxruntime-openvino", "onnxruntime-directml")
"""The distributions of ONNX Runtime."""

ONNXRUNTIME_READS = {FIRST: (22, 11), "1.24": (25, 13), "1.25": (26, 13), "1.32": (27, 14)}
"""The highest opset and IR version of ONNX Runtime with Q/DQ. 1.23 has no QuantizeLinear of 23."""

RULES = (
    Rule(
        "opset",
        quantizers.opset_too_high,
        "refused: {what}, the highest that the engine reads",
        "convert the model to a lower opset",
    ),
    Rule(
        "ir-version",
        quantizers.ir_version_too_high,
        "refused: {what}, the highest that the engine reads",
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
        "other numbers: {what} is accepted, and overflows or loses precision",
        "calibrate again, and bound scales from below",
    ),
    Rule(
        "float-partner",
        operands.float_partner,
        "slower: the {what} is not quantized, so the product runs in float and the Q/DQ of the other operand only "
        "adds work",
        "quantize both operands, or neither",
    ),
)
"""They hold for every engine."""

FLOAT_CONSTANT = SafeFix(each(dequantize.to_float), "stored the constant in float")
INT8_WEIGHT = SafeFix(each(requantize.int8_weight), "stored the weight in int8")
NO_PAIR = SafeFix(remove_qdq.pairs, "removed the Q/DQ pair", exact=False)
FLOAT_LAYER = SafeFix(remove_qdq.layers, "left the layer in float", exact=False)
UINT8_ACTIVATIONS = SafeFix(requantize.unsigned, "requantized int8 activations as uint8, 128 higher")
INT32_BIAS = SafeFix(each(biases.as_int32), "stored the bias in int32 with the scale of the product", exact=False)
SMALL_BIAS = SafeFix(each(biases.smallest), "gave the Conv a bias of 6e-8, which is next to nothing")
ROW_BIAS = SafeFix(each(biases.as_row), "stored the bias as [1, …, N]")

FIXES: FixTable = {
    "ir-version": (SafeFix(ir_version.lowered, "lowered the IR version"),),
    "float-partner": (FLOAT_LAYER,),
    "small-weight": (INT8_WEIGHT,),
    "no-integer-kernel": (NO_PAIR,),
    "quantized-norm": (FLOAT_CONSTANT, NO_PAIR),
    "quantized-constant": (FLOAT_CONSTANT, NO_PAIR),
}
"""They work for every engine.

Rules that no table has need calibration data, another quantizer or a decision of the user.
"""
