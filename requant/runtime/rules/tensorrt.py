"""What TensorRT does with a graph that breaks one of its rules."""

import onnx_ir as ir

from . import attention, constants, operands, outputs, pairs, quantizers
from .rule import Rule

_TAKEN = (ir.DataType.INT8, ir.DataType.FLOAT8E4M3FN, ir.DataType.INT4, ir.DataType.FLOAT4E2M1)
_OWN_RULE = (ir.DataType.UINT8, ir.DataType.INT32)
_OTHERS = tuple(dtype for dtype in ir.DataType if dtype not in _TAKEN + _OWN_RULE)

_LINEAR = frozenset({"MatMul", "Gemm", "Conv", "ConvTranspose"})
_NORMS = frozenset(
    {"LayerNormalization", "RMSNormalization", "SimplifiedLayerNormalization", "SkipLayerNormalization"}
    | {"SkipSimplifiedLayerNormalization", "GroupNormalization", "InstanceNormalization"}
)
_POINTWISE = frozenset(
    {"Add", "Sub", "Mul", "Div", "Pow", "Sqrt", "Exp", "Log", "Reciprocal", "Erf", "Tanh", "Sigmoid"}
    | {"Gelu", "FastGelu", "QuickGelu", "BiasGelu", "Softmax", "ReduceMean", "ReduceSum"}
)

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
    Rule(
        "quantized-residual",
        pairs.quantized_residual(_NORMS | _POINTWISE, behind=_LINEAR),
        "slower: only {what} reads it, and the residual is read in float all the same, so the Q/DQ only costs",
        "remove the Q/DQ pair",
    ),
    Rule(
        "no-integer-kernel",
        pairs.no_integer_kernel(_NORMS | _POINTWISE, behind=_LINEAR),
        "slower: only {what} reads it, which does not work on codes, so the Q/DQ only costs",
        "remove the Q/DQ pair",
    ),
    Rule(
        "quantized-norm",
        constants.quantized_norm,
        "runs in float: there is no kernel for the codes of the {what}, which are rounded for nothing",
        "keep the constant in float",
    ),
    Rule(
        "quantized-constant",
        constants.quantized_constant(constants.never),
        "runs in float: there is no kernel for the codes of a constant of {what}, which are rounded for nothing",
        "keep the constant in float",
    ),
    Rule(
        "partial-attention",
        attention.partial_attention,
        "slower: the attention does not become one kernel, because {what} is in float and the rest in codes",
        "quantize Q, K, V and the output of the softmax, or none of them",
    ),
    Rule(
        "several-scales",
        pairs.several_scales,
        "slower: one value is quantized with {what}, so the layers that read it do not become one product",
        "give all consumers of the value one scale",
    ),
    Rule(
        "thin-layer",
        operands.thin_layer,
        "slower: {what} are too few for an int8 kernel to pay",
        "leave the layer in float",
    ),
)
"""Found with the parser and the ahead-of-time builder of TensorRT-RTX 1.7.1."""
