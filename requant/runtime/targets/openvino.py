"""OpenVINO. Measured with OpenVINO 2026.4.1 on x86-64."""

from collections.abc import Iterator
from dataclasses import replace

import onnx_ir as ir

from ...ir.formats import ActivationType
from ...ir.ops import LINEAR
from ..openvino import runner
from ..rules.qdq_graph import QdqGraph
from ..rules.rule import Rule, Violation
from ..rules.traverse import PAIR, producer
from .common import FIXES, RULES, UINT8_ACTIVATIONS
from .target import INT4, INT8, Target

_PULLED_THROUGH = PAIR | {"Mul", "Relu", "Transpose"}  # a fact of this engine, so no trait
"""Ops that OpenVINO moves a quantizer through, towards a Concat."""


def concatenated_int8(graph: QdqGraph) -> Iterator[Violation]:
    """Find Convs that read a Concat in int8."""
    for layer, dequantizer in graph.activations(ir.DataType.INT8):
        node = producer(dequantizer.node.inputs[0], _PULLED_THROUGH)
        if layer.node.op_type == "Conv" and node is not None and node.op_type == "Concat":
            yield layer.node, node.name or node.outputs[0].name or "a Concat"


OPENVINO = Target(
    name="openvino",
    activations={INT8: ActivationType(ir.DataType.UINT8, 128)},
    ops=LINEAR - {"ConvTranspose"},
    weight_only=frozenset({INT8, INT4}),
    integer_residuals=True,
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
    ),
    fixes={**FIXES, "concatenated-int8": (UINT8_ACTIVATIONS,)},
    runner=runner,
)

OPENVINO_AVX2 = replace(OPENVINO, name="openvino-avx2", weight_bits=7)
"""On x86-64 without VNNI, where its kernels add two products of 8 bits in 16 and saturate."""
