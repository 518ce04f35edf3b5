"""The rules of ONNX Runtime's CPU provider.

Measured with ONNX Runtime 1.23.2 to 1.32.0 on x86-64 at its default optimization level: see `make engines`.
"""

import onnx_ir as ir

from ..rules import constants, operands, outputs, pairs, quantizers
from ..rules.rule import Rule
from ..versions import FIRST

_FLOAT8 = tuple(dtype for dtype in ir.DataType if dtype.is_floating_point() and dtype.bitwidth <= 8)

_FLOAT_ONLY = frozenset(
    {"LayerNormalization", "Gelu", "Erf", "Tanh", "HardSwish", "HardSigmoid", "Sqrt", "Pow", "Exp", "Log", "Reciprocal"}
    | {"ReduceMean", "ReduceSum", "Sub", "Div", "Neg", "Abs", "ConvTranspose"}
)
"""Ops without an integer kernel, as measured op by op: a property of this engine, so no expression over traits."""

CPU_RULES = (
    Rule(
        "scale-not-positive",
        quantizers.scale_not_positive,
        "other numbers: {what} is accepted, and divides by zero or flips signs",
        "calibrate again; give a constant 0 any positive scale",
    ),
    Rule(
        "scale-per-channel",
        operands.scale_per_channel,
        "refused: an activation has {what}, and the integer product fails at the first run",
        "use one scale; equalize the channels first (requant.passes.ReparameterizeScales)",
    ),
    Rule(
        "uint8-weight",
        operands.uint8_weight,
        "slower: a product with {what} weights is no faster than in float",
        "use int8 for the weight",
    ),
    Rule(
        "code-type",
        quantizers.quantized_as(*_FLOAT8),
        {
            FIRST: "refused: a MatMul or Gemm in {what} does not load at the default optimization level",
            "1.28": "refused: a MatMul in {what} does not load at the default optimization level",
            "1.32": "runs in float: there is no kernel for products in {what}",
        },
        "use uint8 activations and int8 weights",
    ),
    Rule(
        "code-type",
        quantizers.quantized_as(ir.DataType.INT16, ir.DataType.UINT16),
        {
            FIRST: "runs in float: there is no integer kernel for {what}",
            "1.32": "other numbers: a MatMul of {what} by an 8-bit weight rounds the activation again (MatMulNBits); "
            "other products run in float",
        },
        "use uint8 activations and int8 weights",
    ),
    Rule(
        "weight-scale-axis",
        operands.weight_scale_axis("MatMul", "Gemm", "Conv"),
        "other numbers: the weight has scales along {what}; if the axes differ in size, the first run fails",
        "give the weight one scale for each output channel",
    ),
    Rule(
        "weight-only",
        operands.weight_only,
        {
            FIRST: "runs in float: the {what} weight is dequantized first",
            "1.25": "other numbers: a MatMul or Gemm by an {what} weight quantizes the activation too "
            "(MatMulNBits), and is slower than float above a few rows; other ops run in float",
        },
        "quantize the activation too, or keep the weight in float",
    ),
    Rule(
        "small-weight",
        operands.small_weight,
        "runs in float: there is no product of 8-bit activations by an {what} weight",
        "use an int8 weight, or leave the activation in float",
    ),
    Rule(
        "blocked-weight",
        operands.blocked_weight,
        "refused: the weight has scales by {what}, and the integer product fails at the first run",
        "give the weight one scale for each output channel",
    ),
    Rule(
        "weight-place",
        operands.weight_first,
        "runs in float: {what}",
        "store the weight in the layout of the second operand, straight before the layer",
    ),
    Rule(
        "weight-place",
        operands.weight_moved,
        {FIRST: "refused: {what}, and a Transpose without perm ends the process", "1.31": "runs in float: {what}"},
        "store the weight in the layout of the second operand, straight before the layer",
    ),
    Rule(
        "float16-scale",
        operands.half_scale,
        {
            FIRST: "runs in float: there is no integer product with {what} scales",
            "1.29": "refused: an integer MatMul with {what} scales becomes an operator that has no kernel",
            "1.30": "runs in float: there is no integer product with {what} scales",
        },
        "quantize the float32 model",
    ),
    Rule(
        "float-bias",
        outputs.float_bias,
        "runs in float: adding {what} makes a float Gemm, slower than the float model",
        "store the bias as [1, …, N] when the product has three axes or more, else in int32 with the product's scale",
    ),
    Rule(
        "bias-scale",
        outputs.bias_scale("Conv"),
        {
            FIRST: "other numbers: the scale of the int32 bias ({what}) is not that of the product, and is ignored",
            "1.27": "runs in float: the scale of the int32 bias ({what}) is not that of the product",
        },
        "use the scale of the activation times the scale of the weight",
    ),
    Rule(
        "bias-scale",
        outputs.bias_scale("MatMul", "Gemm"),
        "other numbers: the scale of the int32 bias ({what}) is not that of the product, and is ignored",
        "use the scale of the activation times the scale of the weight",
    ),
    Rule(
        "bias-overflow",
        outputs.bias_overflow,
        "other numbers: the bias is quantized to int32 with the scale of the product; it has {what}, and saturates",
        "give the weight of that channel a larger scale",
    ),
    Rule(
        "zero-point-left-out",
        outputs.absent_zero_point(bias=True),
        "runs in float: {what} has no zero point, and the integer Gemm needs one",
        "store the zero point, also when it is 0",
    ),
    Rule(
        "zero-point-left-out",
        outputs.absent_zero_point(bias=False),
        {FIRST: "", "1.28": "runs in float: {what} has no zero point, and the integer Gemm needs one"},
        "store the zero point, also when it is 0",
    ),
    Rule(
        "gemm-factors",
        outputs.gemm_factors,
        "runs in float: the integer Gemm takes no {what} beside a bias",
        "multiply the factor into the weight or the bias before quantizing",
    ),
    Rule(
        "conv-output",
        outputs.unquantized_output,
        "runs in float: the integer Conv needs a quantized {what}",
        "put Q/DQ behind it, or remove them before it",
    ),
    Rule(
        "relu-between",
        outputs.relu_between,
        "runs in float: the range of {what} reaches below 0, so the Relu stays between the product and its Q",
        "put the zero point at the lowest integer, or another Q/DQ pair before the Relu",
    ),
    Rule(
        "int8-activation",
        operands.shared_int8,
        "runs in float: an int8 activation with {what} is not converted to uint8, which the kernels take",
        "use uint8 with zero point 128, which stands for the same real values",
    ),
    Rule(
        "int8-activation",
        outputs.reshaped_int8,
        {
            FIRST: "runs in float: a product of an int8 activation with {what} and a bias is a float Gemm at opset 21",
            "1.27": "refused: a product of an int8 activation with {what} and a bias becomes a Gemm that opset 21 "
            "does not allow",
        },
        "use uint8 with zero point 128, which stands for the same real values",
    ),
    Rule(
        "no-integer-kernel",
        pairs.no_integer_kernel(_FLOAT_ONLY, behind=frozenset({"Conv"})),
        "slower: only {what} reads it, which has no integer kernel that pays, so the Q/DQ only adds work",
        "remove the Q/DQ pair",
    ),
    Rule(
        "quantized-norm",
        constants.quantized_norm,
        "slower: the {what} is dequantized in each run, or keeps the norm from being one kernel; and it is rounded",
        "keep the constant in float",
    ),
    Rule(
        "quantized-constant",
        constants.quantized_constant(constants.within_qdq),
        "slower: a constant of {what} is dequantized in each run, and rounded for nothing",
        "keep the constant in float",
    ),
)
