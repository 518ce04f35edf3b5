"""What is done about each rule: by target, then by the rule's name.

Rules that are not here want calibration data, another quantizer or a decision of their user.
"""

from ..targets import TARGETS
from . import biases, dequantize, remove_qdq, requantize, versions
from .fix import Mend, each

_FLOAT_CONSTANT = Mend(each(dequantize.to_float), "wrote the constant in float")
_INT8_WEIGHT = Mend(each(requantize.int8_weight), "wrote the weight in int8 codes")
_NO_PAIR = Mend(remove_qdq.pairs, "removed the Q/DQ pair", exact=False)
_FLOAT_LAYER = Mend(remove_qdq.layers, "left the layer in float", exact=False)
_INT32_BIAS = Mend(each(biases.as_codes), "wrote the bias as int32 codes with the scale of the product", exact=False)

_EVERY: dict[str, tuple[Mend, ...]] = {
    "ir-version": (Mend(versions.lowered, "lowered the IR version"),),
    "float-partner": (_FLOAT_LAYER,),
    "small-weight": (_INT8_WEIGHT,),
    "no-integer-kernel": (_NO_PAIR,),
    "quantized-norm": (_FLOAT_CONSTANT, _NO_PAIR),
    "quantized-constant": (_FLOAT_CONSTANT, _NO_PAIR),
}

_TENSORRT = _EVERY | {
    "zero-point": (_FLOAT_CONSTANT,),
    "uint8-activation": (Mend(each(requantize.symmetric), "wrote int8 codes around 0"),),
    "uint8-weight": (Mend(each(requantize.symmetric), "wrote int8 codes around 0"),),
    "int32-bias": (_FLOAT_CONSTANT,),
    "quantized-output": (_NO_PAIR,),
    "quantized-residual": (_NO_PAIR,),
    "partial-attention": (Mend(remove_qdq.attention, "left both products of the attention in float", exact=False),),
    "thin-layer": (_FLOAT_LAYER,),
}
_UNSIGNED = Mend(requantize.unsigned, "wrote uint8 codes, 128 above the int8 ones")
_CPU = _EVERY | {
    "uint8-weight": (_INT8_WEIGHT,),
    "int8-activation": (_UNSIGNED,),
    "float-bias": (Mend(each(biases.as_row), "wrote the bias as [1, …, N]"), _INT32_BIAS),
    "bias-scale": (_INT32_BIAS,),
    "zero-point-left-out": (Mend(each(requantize.written_zero_points), "wrote the zero point"),),
    "conv-output": (_FLOAT_LAYER,),
    "weight-only": (Mend(remove_qdq.kernels, "wrote the weight in float"),),
}

MENDS = dict.fromkeys(TARGETS, _EVERY)
MENDS |= dict.fromkeys(("cpu", "cpu-avx2", "cpu-arm"), _CPU)
MENDS |= dict.fromkeys(("tensorrt", "tensorrt-rtx"), _TENSORRT)
MENDS["openvino"] = _EVERY | {"concatenated-int8": (_UNSIGNED,)}
MENDS["cuda"] = _EVERY | {"integer-product": (_FLOAT_LAYER,)}
"""Tried in this order."""
