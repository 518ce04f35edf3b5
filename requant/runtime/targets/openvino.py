"""OpenVINO. Measured with OpenVINO 2026.4.1 on x86-64."""

from dataclasses import replace

import onnx_ir as ir

from ...ir.formats import ActivationType
from ...ir.ops import LINEAR
from ..openvino import runner
from ..rules.rule import Rule
from .common import FIXES, RULES, SMALL_BIAS, UINT8_ACTIVATIONS
from .openvino_rules import concatenated_int8, shared_conv_output
from .target import INT4, INT8, Target

OPENVINO = Target(
    name="openvino",
    activations={INT8: ActivationType(ir.DataType.UINT8, 128)},
    ops=LINEAR,
    weight_only=frozenset({INT8, INT4}),
    integer_residuals=True,
    shared_bias=True,
    zero_points=True,
    asymmetric=True,
    one_sided=frozenset({"ConvTranspose"}),
    highest_opset=26,
    highest_ir=13,
    engine="openvino",
    distributions=("openvino",),
    rules=(
        *RULES,
        Rule(
            "concatenated-int8",
            concatenated_int8,
            "other numbers: the integer Conv computes wrong numbers from the int8 output of {what}",
            "use uint8 with zero point 128, which stands for the same real values",
        ),
        Rule(
            "shared-conv-output",
            shared_conv_output,
            "other numbers: the integer Conv has no bias, several consumers and a shape that is not known, and some "
            "get its output without its scale or with its square ({what})",
            "give the Conv a bias, however small, or the model fixed shapes",
        ),
    ),
    fixes={**FIXES, "concatenated-int8": (UINT8_ACTIVATIONS,), "shared-conv-output": (SMALL_BIAS,)},
    runner=runner,
)

OPENVINO_AVX2 = replace(OPENVINO, name="openvino-avx2", weight_bits=7)
"""On x86-64 without VNNI, where its kernels add two products of 8 bits in 16 and saturate."""
