"""An engine that does not exist, in one file: it takes uint8 activations only, and has rules and safe fixes."""

from collections.abc import Iterator

import onnx_ir as ir

from requant.ir.formats import ActivationType
from requant.ir.ops import PRODUCTS
from requant.runtime.rules import operands
from requant.runtime.rules.qdq_graph import QdqGraph
from requant.runtime.rules.rule import Rule, Violation
from requant.runtime.targets.common import FIXES, RULES, UINT8_ACTIVATIONS
from requant.runtime.targets.target import INT8, Target


def int8_activation(graph: QdqGraph) -> Iterator[Violation]:
    """Find products with int8 activations."""
    for layer, dequantizer in graph.activations(INT8):
        yield layer.node, dequantizer.dtype.name.lower()


NPU = Target(
    name="npu",
    engine="npu",
    activations={INT8: ActivationType(ir.DataType.UINT8, 128)},
    ops=PRODUCTS,
    highest_opset=21,
    highest_ir=10,
    onnx_versions={"1.0": (17, 8), "2.0": (21, 10)},
    rules=(
        *RULES,
        Rule(
            "int8-activation",
            int8_activation,
            {"0.0": "refused: activations in {what}", "3.0": "slower: activations in {what} are converted"},
            "use uint8 with zero point 128",
        ),
        Rule("thin-layer", operands.thin_layer, "runs in float: {what} are too few", "leave the layer in float"),
    ),
    fixes={**FIXES, "int8-activation": (UINT8_ACTIVATIONS,)},
)
"""A registered engine needs no more than this."""
