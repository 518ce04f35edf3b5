"""What TensorRT does with a graph that breaks one of its rules."""

import onnx_ir as ir

from . import operands, outputs, quantizers
from .rule import Rule

_TAKEN = (ir.DataType.INT8, ir.DataType.FLOAT8E4M3FN, ir.DataType.INT4, ir.DataType.FLOAT4E2M1)
_OWN_RULE = (ir.DataType.UINT8, ir.DataType.INT32)
_OTHERS = tuple(dtype for dtype in ir.DataType if dtype not in _TAKEN + _OWN_RULE)

RULES = (
    Rule(
        "scale-not-positive",
        quantizers.scale_not_positive,
        "refused: {what}, and the parser takes positive scales only",
        "calibrate again; give a constant 0 any positive scale",
    ),
    Rule(
        "scale-per-channel",
        quantizers.scale_per_channel,
        "runs in float: an activation has {what}, so no int8 product is chosen, silently",
        "use one scale; even the channels out first (requant.passes.ReparameterizeScales)",
    ),
    Rule(
        "scale-not-constant",
        quantizers.computed_scale,
        "refused: the {what} is computed at run time, and the parser takes constants",
        "calibrate, and store scale and zero point as initializers",
    ),
    Rule(
        "zero-point",
        quantizers.nonzero_zero_point,
        "refused: {what}, and the parser takes 0 only",
        "quantize symmetrically: int8 codes with zero point 0",
    ),
    Rule(
        "uint8-activation",
        quantizers.coded(ir.DataType.UINT8, fixed=False),
        "other numbers: {what} codes are read as int8, so that those above 127 clip",
        "use int8 codes with zero point 0",
    ),
    Rule(
        "uint8-weight",
        quantizers.coded(ir.DataType.UINT8, fixed=True),
        "refused: {what} weights cannot be imported",
        "use int8 codes with zero point 0",
    ),
    Rule(
        "code-type",
        quantizers.coded(*_OTHERS),
        "refused: the parser does not take {what} codes",
        "use int8, or float8e4m3fn where the GPU has it",
    ),
    Rule(
        "int32-bias",
        quantizers.coded(ir.DataType.INT32),
        "refused: the parser dequantizes no {what}",
        "keep the bias in float",
    ),
    Rule(
        "dangling-quantize",
        quantizers.dangling_quantize,
        "refused: the codes are read by {what}, not by a DequantizeLinear alone",
        "put a DequantizeLinear with the same scale behind it",
    ),
    Rule(
        "integer-op",
        quantizers.integer_op,
        "refused: the parser does not take {what}",
        "quantize with Q/DQ around the float op (QuantFormat.QDQ), with static scales",
    ),
    Rule(
        "weight-scale-axis",
        operands.weight_scale_axis(),
        "runs in float: the weight has scales along {what}, so no int8 product is chosen, silently",
        "give the weight one scale for each output channel",
    ),
    Rule(
        "weight-only",
        operands.weight_only,
        "runs in float: the {what} weight is dequantized first, because the activation is not quantized",
        "quantize the activation too; keep as it is if only the file should be smaller",
    ),
    Rule(
        "small-weight",
        operands.small_weight,
        "refused: no product of 8-bit activations by an {what} weight can be built",
        "use int8 codes for the weight, or leave the activation in float",
    ),
    Rule(
        "blocked-weight",
        operands.blocked_weight,
        "runs in float: the weight has scales by {what}, and is dequantized by a kernel of its own",
        "give the weight one scale for each output channel",
    ),
    Rule(
        "quantized-output",
        outputs.quantized_output,
        "slower: the output of a {what} is quantized, and nothing behind it multiplies the codes",
        "remove the Q/DQ pair",
    ),
)
"""Found with the parser and the ahead-of-time builder of TensorRT-RTX 1.7.1."""
