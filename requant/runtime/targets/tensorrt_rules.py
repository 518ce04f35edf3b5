"""The rules of TensorRT and TensorRT-RTX.

Found with the parser and the ahead-of-time builder of TensorRT-RTX 1.7.1.
"""

import onnx_ir as ir

from ...ir.ops import ARITHMETIC, EXPONENTIALS, GELUS, LINEAR, LINEAR_REDUCTIONS, POWERS, S_CURVES, SOFTMAXES
from ..rules import attention, constants, operands, outputs, pairs, quantizers
from ..rules.norms import NORMS
from ..rules.rule import Rule
from .target import FP8, INT4, INT8

_TAKEN = (INT8, FP8, INT4, ir.DataType.FLOAT4E2M1)
_OWN_RULE = (ir.DataType.UINT8, ir.DataType.INT32)
_REFUSED = tuple(dtype for dtype in ir.DataType if dtype not in _TAKEN + _OWN_RULE)

_POINTWISE = (
    ARITHMETIC | POWERS | EXPONENTIALS | S_CURVES | GELUS | LINEAR_REDUCTIONS | (SOFTMAXES - {"LogSoftmax"})
)  # fmt: skip
"""Ops without an integer kernel, as they appear between layers."""

TENSORRT_RULES = (
    Rule(
        "scale-not-positive",
        quantizers.scale_not_positive,
        "refused: {what}, and the parser takes positive scales only",
        "calibrate again; give a constant 0 any positive scale",
    ),
    Rule(
        "scale-per-channel",
        quantizers.scale_per_channel,
        "runs in float: an activation has {what}, so no int8 kernel is chosen, without a warning",
        "use one scale; equalize the channels first (requant.passes.ReparameterizeScales)",
    ),
    Rule(
        "scale-not-constant",
        quantizers.computed_scale,
        "runs in float: the {what} is computed at run time, and integer kernels take constants",
        "calibrate, and store scale and zero point as initializers",
    ),
    Rule(
        "zero-point",
        quantizers.nonzero_zero_point,
        "refused: {what}, and the parser takes 0 only",
        "quantize symmetrically: int8 with zero point 0",
    ),
    Rule(
        "uint8-activation",
        quantizers.quantized_as(ir.DataType.UINT8, constant=False),
        "other numbers: {what} activations are read as int8, so that values above 127 saturate",
        "use int8 with zero point 0",
    ),
    Rule(
        "uint8-weight",
        quantizers.quantized_as(ir.DataType.UINT8, constant=True),
        "refused: {what} weights cannot be imported",
        "use int8 with zero point 0",
    ),
    Rule(
        "code-type",
        quantizers.quantized_as(*_REFUSED),
        "refused: the parser does not take quantized values in {what}",
        "use int8, or float8e4m3fn where the GPU has it",
    ),
    Rule(
        "int32-bias",
        quantizers.quantized_as(ir.DataType.INT32),
        "refused: the parser does not dequantize {what}",
        "keep the bias in float",
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
        "runs in float: the weight has scales along {what}, so no int8 kernel is chosen, without a warning",
        "give the weight one scale for each output channel",
    ),
    Rule(
        "weight-only",
        operands.weight_only,
        "runs in float: the {what} weight is dequantized first, because the activation is not quantized",
        "quantize the activation too; keep it as it is if only the file should be smaller",
    ),
    Rule(
        "small-weight",
        operands.small_weight,
        "slower: the {what} weight is cast to int8 by a kernel of its own at each run",
        "use an int8 weight, or leave the activation in float",
    ),
    Rule(
        "blocked-weight",
        operands.blocked_weight,
        "refused: no product of quantized activations by a weight with scales by {what} can be built",
        "give the weight one scale for each output channel, or leave the activation in float",
    ),
    Rule(
        "integer-constant",
        constants.moved_integers,
        "refused: a {what} reads a constant that is stored in integers, which only a DequantizeLinear may",
        "put the DequantizeLinear in front of it, or keep the constant in float",
    ),
    Rule(
        "half-scales",
        operands.half_scales,
        "other numbers: the sums of products of integers, times one {what}, are kept in float16, which ends at 65504",
        "store the scales of both DequantizeLinear in float32, with output_dtype float16, or use one scale a weight",
    ),
    Rule(
        "no-integer-layer",
        operands.layer_of("ConvTranspose"),
        "runs in float: there is no integer {what}, and its weight is dequantized by a kernel of its own at each run",
        "leave the layer in float",
    ),
    Rule(
        "quantized-output",
        outputs.quantized_output,
        "slower: the output of a {what} is quantized, and no layer behind it multiplies the int8 values",
        "remove the Q/DQ pair",
    ),
    Rule(
        "quantized-residual",
        pairs.quantized_residual(NORMS | _POINTWISE, behind=LINEAR),
        "slower: only {what} reads it, and the residual is read in float anyway, so the Q/DQ only adds work",
        "remove the Q/DQ pair",
    ),
    Rule(
        "no-integer-kernel",
        pairs.no_integer_kernel(NORMS | _POINTWISE, behind=LINEAR),
        "slower: only {what} reads it, which has no int8 kernel, so the Q/DQ only adds work",
        "remove the Q/DQ pair",
    ),
    Rule(
        "quantized-norm",
        constants.quantized_norm,
        "runs in float: there is no kernel for a quantized {what}, which is rounded for nothing",
        "keep the constant in float",
    ),
    Rule(
        "quantized-constant",
        constants.quantized_constant(constants.never),
        "runs in float: there is no kernel for a quantized constant of {what}, which is rounded for nothing",
        "keep the constant in float",
    ),
    Rule(
        "partial-attention",
        attention.partial_attention,
        "slower: the attention does not become one kernel, because {what} is in float and the rest is quantized",
        "quantize Q, K, V and the output of the softmax, or none of them",
    ),
    Rule(
        "several-scales",
        pairs.several_scales,
        "slower: one value is quantized with {what}, so its consumers do not become one product",
        "give all consumers of the value one scale",
    ),
    Rule(
        "thin-layer",
        operands.thin_layer,
        "slower: {what} are too few for an int8 kernel to pay",
        "leave the layer in float",
    ),
)

TENSORRT_RTX_RULES = (
    Rule(
        "grouped-conv",
        operands.grouped_conv,
        {"1.7": "slower: a Conv with {what} in int8 has its channels padded up to four times"},
        "leave the layer in float",
    ),
    Rule(
        "float32-attention",
        attention.float32_attention,
        {"1.7": "slower: attention in {what} does not become one kernel"},
        "convert the model to float16",
    ),
)
"""Rules that only TensorRT-RTX was seen to have."""
