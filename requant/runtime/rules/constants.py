"""Searches for quantized constants that are not the weights of a product."""

from collections.abc import Callable, Iterator

import onnx_ir as ir

from ...ir.constants import is_constant
from ...ir.ops import COMMUTATIVE
from ...ir.traverse import reachable
from .norms import PARAMETERS, decomposed_norms
from .qdq_graph import QdqGraph
from .qdq_nodes import QdqNode
from .quantizers import INTEGER_OPS
from .rule import Find, Violation
from .traverse import MOVERS

Use = tuple[ir.Node, int]
"""A consumer, and which of its inputs."""

STORED = frozenset({ir.DataType.INT8, ir.DataType.FLOAT8E4M3FN, ir.DataType.INT4})
"""Types of quantized constants."""

_INTEGER_ELEMENTWISE = COMMUTATIVE
"""Ops that ONNX Runtime runs on integers (QLinearAdd, QLinearMul); it has no such kernel for Sub and Div."""


def quantized_norm(graph: QdqGraph) -> Iterator[Violation]:
    """Find quantized parameters of norms."""
    norms = decomposed_norms(graph)
    for dequantizer, uses in _constants(graph):
        roles = {role for node, position in uses if (role := _role(node, position, norms)) is not None}
        if roles:
            yield dequantizer.node, " and ".join(sorted(roles))


def quantized_constant(has_kernel: Callable[[ir.Node, QdqGraph], bool]) -> Find:
    """Return a search for quantized constants of ops that have no integer kernel for them."""

    def find(graph: QdqGraph) -> Iterator[Violation]:
        norms = decomposed_norms(graph)
        for dequantizer, uses in _constants(graph):
            ops = {
                node.op_type
                for node, position in uses
                if _role(node, position, norms) is None and not has_kernel(node, graph)
            }
            if ops and dequantizer.dtype != ir.DataType.INT32:
                yield dequantizer.node, " and ".join(sorted(ops))

    return find


def moved_integers(graph: QdqGraph) -> Iterator[Violation]:
    """Find nodes other than a DequantizeLinear that read a constant stored in a type of quantized values."""
    for node in graph.model.graph.all_nodes():
        stored = [value for value in node.inputs if value is not None and is_constant(value)]
        if node not in graph.nodes and node.domain == "" and not node.op_type.startswith(INTEGER_OPS):
            yield from ((node, node.op_type) for value in stored if value.dtype in STORED)


def never(node: ir.Node, graph: QdqGraph) -> bool:
    """Say that no op has a kernel for a quantized constant."""
    return False


def within_qdq(node: ir.Node, graph: QdqGraph) -> bool:
    """Tell whether ``node`` is an Add or Mul with Q/DQ all around, which ONNX Runtime runs in integers."""
    uses = [use.node for use in node.outputs[0].uses()]
    quantize = graph.nodes.get(uses[0]) if len(uses) == 1 else None
    feeds_quantizer = quantize is not None and quantize.quantizes
    return node.op_type in _INTEGER_ELEMENTWISE and feeds_quantizer and all(map(graph.producer, node.inputs))


def _constants(graph: QdqGraph) -> Iterator[tuple[QdqNode, list[Use]]]:
    """Iterate over the DQs of constants of several numbers, with the uses that are not weights of a product."""
    for qdq in graph.nodes.values():
        data = qdq.node.inputs[0]
        scalar = data is not None and data.const_value is not None and data.const_value.size == 1
        if qdq.constant and not qdq.quantizes and not scalar and (uses := list(_uses(qdq.node.outputs[0], graph))):
            yield qdq, uses


def _uses(value: ir.Value, graph: QdqGraph) -> Iterator[Use]:
    """Iterate over the uses of the constant ``value``, or of what movers make of it, but for weights of a product."""

    def moved(current: ir.Value) -> list[ir.Value]:
        movers = (use.node for use in current.uses() if use.node.op_type in MOVERS)
        return [output for node in movers if graph.constants.issuperset(node.outputs) for output in node.outputs]

    for current in reachable([value], moved):
        for node, position in current.uses():
            is_weight = node in graph.layers and position < 2
            if node.op_type not in MOVERS and node not in graph.nodes and not is_weight:
                yield node, position


def _role(node: ir.Node, position: int, norms: dict[ir.Node, str]) -> str | None:
    """Return the role that the constant has in a norm; None when ``node`` belongs to no norm."""
    role = norms.get(node) or PARAMETERS.get(node.op_type, {}).get(position)
    return f"{role} of a norm" if role else None
