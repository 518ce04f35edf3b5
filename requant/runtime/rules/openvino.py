"""What OpenVINO makes of a graph that breaks its rule."""

from collections.abc import Iterator

import onnx_ir as ir

from .qdq_graph import View
from .rule import Rule, Violation
from .traverse import PAIR, maker

_PULLED_THROUGH = PAIR | {"Mul", "Relu", "Transpose"}
"""What OpenVINO moves a quantizer through, towards a Concat."""


def concatenated_int8(view: View) -> Iterator[Violation]:
    """Signed codes of a Concat that a Conv reads."""
    for layer, step in view.activations(ir.DataType.INT8):
        node = maker(step.node.inputs[0], _PULLED_THROUGH)
        if layer.node.op_type == "Conv" and node is not None and node.op_type == "Concat":
            yield layer.node, node.name or node.outputs[0].name or "a Concat"


RULES = (
    Rule(
        "concatenated-int8",
        concatenated_int8,
        "other numbers: of signed codes of {what}, the integer Conv computes something else",
        "use uint8 codes with zero point 128: the same real values",
    ),
)
"""Measured with OpenVINO 2026.4.1 on x86-64."""
