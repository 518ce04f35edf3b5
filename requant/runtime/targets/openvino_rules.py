"""What OpenVINO computes wrongly of Q/DQ. Measured with OpenVINO 2026.4.1 on x86-64, op by op."""

from collections.abc import Iterator

import numpy as np
import onnx_ir as ir

from ...ir.constants import array
from ...ir.ops import ADDITIVE, ARITHMETIC, GLOBAL_POOLING, RECTIFIERS, REDUCTIONS
from ..rules.qdq_graph import QdqGraph
from ..rules.rule import Violation
from ..rules.traverse import PAIR, label, producer

# The two tables are facts of this engine, so no traits.
_SWAPPED = (
    RECTIFIERS | GLOBAL_POOLING | REDUCTIONS
    | {"AveragePool", "MaxPool", "Pad", "QuantizeLinear", "Reshape", "Resize", "Split", "Squeeze", "Transpose"}
    | {"Unsqueeze"}
)  # fmt: skip
"""Ops that OpenVINO puts before the scale of an integer Conv that they read."""
_MERGED = frozenset({"Div", "Gather", "Mul", "Neg", "Pow"})
"""Ops that it merges with that scale, by a constant; it does so with sums, but of a constant."""


def concatenated_int8(graph: QdqGraph) -> Iterator[Violation]:
    """Find Convs that read a Concat in int8: OpenVINO quantizes what is concatenated, as uint8, and forgets the 128."""
    for layer, _ in graph.activations(ir.DataType.INT8):
        node = layer.node
        if node.op_type == "Conv" and node.attributes.get_int("group", 1) == 1:
            source = _joined(node, graph)
            if source is not None:
                yield node, label(source)


def _joined(conv: ir.Node, graph: QdqGraph) -> ir.Node | None:
    """Return the Concat of floats towards which OpenVINO moves the quantizer that ``conv`` reads, if there is one."""
    value = conv.inputs[0]
    while True:
        node = producer(value, PAIR | {"Relu"})
        moved = _moved_operand(node, graph) if node is not None else None
        if moved is None:
            break
        value = moved
    floats = node is not None and node.op_type == "Concat" and node.outputs[0].dtype != ir.DataType.INT8
    return node if floats else None


def _moved_operand(node: ir.Node, graph: QdqGraph) -> ir.Value | None:
    """Return the operand of a sum or product with a constant that OpenVINO moves before the Concat: of known axes."""
    operands = [operand for operand in node.inputs if not graph.is_constant(operand)]
    if node.op_type not in ARITHMETIC or len(operands) != 1:
        return None
    (constant,) = (operand for operand in node.inputs if operand is not operands[0])
    axes = len(constant.shape) if constant is not None and constant.shape is not None else 0
    shape = node.outputs[0].shape
    unknown = shape is None or any(not isinstance(size, int) for size in shape[len(shape) - axes :])
    return None if unknown else operands[0]


def shared_conv_output(graph: QdqGraph) -> Iterator[Violation]:
    """Find Convs whose scale OpenVINO applies twice or not at all: once for all consumers, and once for some."""
    for layer in graph.products("Conv"):
        node = layer.node
        consumers = [use.node for use in node.outputs[0].uses()]
        count = len(consumers) + node.outputs[0].is_graph_output()
        swapped = [consumer for consumer in consumers if consumer.op_type in _SWAPPED]
        merged = [consumer for consumer in consumers if _is_merged(consumer, graph)]
        mixed = merged or (swapped and len(swapped) < count)
        if count > 1 and mixed and not has_bias(node) and _is_unknown(node):
            yield node, label((swapped + merged)[0])


def has_bias(conv: ir.Node) -> bool:
    """Tell whether ``conv`` has a bias that OpenVINO does not remove, as it does one of zeros."""
    bias = conv.inputs[2] if len(conv.inputs) > 2 else None
    numbers = array(bias)
    return bias is not None and (numbers is None or bool(np.any(numbers)))


def _is_merged(node: ir.Node, graph: QdqGraph) -> bool:
    by_constant = any(map(graph.is_constant, node.inputs))
    if node.op_type in ADDITIVE:
        return not by_constant
    square = node.op_type == "Mul" and node.inputs[0] is node.inputs[1]
    return node.op_type in _MERGED and (len(node.inputs) == 1 or by_constant or square)


def _is_unknown(node: ir.Node) -> bool:
    """Tell whether the shape of what ``node`` computes is not known before the model runs."""
    shape = node.outputs[0].shape
    return shape is None or not shape.is_static()
