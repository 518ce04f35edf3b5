"""The kernels that compute the planned layers of a graph: which node of the optimized graph is which layer.

ONNX Runtime fuses nodes and gives the new ones names of their own, but what a fused node writes keeps its name. So a
layer is the kernel that writes the first value behind it which is left:

    MatMulInteger → Cast → Mul → Add = y        MatMulIntegerToFloat = y
"""

from collections.abc import Iterator, Mapping

import onnx_ir as ir

from ...ir.constants import constant_shape, is_constant
from ...ir.ops import CONVERSIONS, LINEAR, MOVEMENT, QUANTIZERS
from ...ir.quantized import COMPRESSED_LAYERS, find_quantized_layers
from ...ir.traverse import origin, producer, reachable
from ..engine_kernel import Kernels
from ..engine_plan import PlannedProduct, planned_products
from ..rules.qdq_graph import QdqGraph
from ..rules.traverse import MOVERS
from .session_kernel import SessionKernel

Optimized = Mapping[ir.Node, SessionKernel]

_REORDERING = frozenset({"ReorderInput", "ReorderOutput"})
"""Changes of layout, in ONNX Runtime's own domain."""

_TRANSPARENT = MOVEMENT | QUANTIZERS | CONVERSIONS | _REORDERING
"""Ops of kernels that ONNX Runtime puts behind a layer where it changes its layout or its type."""


def planned_kernels(graph: QdqGraph, optimized: Optimized) -> dict[PlannedProduct, Kernels]:
    """Map the layers of ``graph`` to their kernels, none where ONNX Runtime has neither its output nor its weight."""
    writers, readers = _writers(optimized), _readers(optimized)
    kernels = dict[PlannedProduct, Kernels]()
    for product, node in _planned(graph):
        written = _written_behind(node, writers, _TRANSPARENT)
        if written is None or optimized[written].kind == "other":
            written = next((reader for name in _constants(node) for reader in readers.get(name, ())), None)
        kernels[product] = (optimized[written],) if written is not None else ()
    return kernels


def kernels_between(graph: QdqGraph, optimized: Optimized) -> dict[str, SessionKernel]:
    """Map nodes that read integers by DQ alone, and are read by Q alone, to the kernels that write these integers.

    Where such a node runs in float, that is the QuantizeLinear behind it. Products are left out, and what only moves.
    """
    writers = _writers(optimized)
    between = dict[str, SessionKernel]()
    for node in graph.model.graph.all_nodes():
        if node not in graph.nodes and node.op_type not in LINEAR | MOVERS and _is_between(graph, node):
            quantize = next(iter(node.outputs[0].uses())).node
            if (writer := _written_behind(quantize, writers, MOVEMENT | _REORDERING)) is not None:
                between[graph.label(node)] = optimized[writer]
    return between


def _is_between(graph: QdqGraph, node: ir.Node) -> bool:
    data = [graph.producer(value) for value in node.inputs if value is not None and not graph.is_constant(value)]
    (output, *others), readers = node.outputs, [graph.nodes.get(use.node) for use in node.outputs[0].uses()]
    reads_integers = bool(data) and all(qdq is not None and not qdq.quantizes for qdq in data)
    is_read = bool(readers) and all(qdq is not None and qdq.quantizes for qdq in readers)
    return reads_integers and is_read and not output.is_graph_output() and not any(other.uses() for other in others)


def _planned(graph: QdqGraph) -> Iterator[tuple[PlannedProduct, ir.Node]]:
    """Iterate over the layers with a constant weight: between Q/DQ, in float, and those on integers in the graph."""
    by_name = {graph.label(node): node for node in graph.layers}
    yield from ((product, by_name[product.name]) for product in planned_products(graph))
    for layer in find_quantized_layers(graph.model):
        if layer.node not in graph.layers:
            data = "" if layer.node.op_type in COMPRESSED_LAYERS else "int8"
            yield PlannedProduct(graph.label(layer.node), data, _stored(layer.node)), layer.node


def _written_behind(node: ir.Node, writers: Mapping[str, ir.Node], through: frozenset[str]) -> ir.Node | None:
    """Return the node of the optimized graph that writes the first value behind ``node`` which is left in it.

    Where that node is one of ``through``, it is the next one upstream that is none.
    """

    def behind(value: ir.Value) -> list[ir.Value]:
        return [output for use in value.uses() for output in use.node.outputs]

    values = reachable(node.outputs, behind)
    writer = next((writers[name] for value in values if (name := value.name or "") in writers), None)
    if writer is None or writer.op_type not in through:
        return writer
    return producer(writer.inputs[0], through)


def _writers(optimized: Optimized) -> dict[str, ir.Node]:
    """Map the values of the optimized graph to the nodes that write them."""
    return {value.name: node for node in optimized for value in node.outputs if value.name}


def _constants(node: ir.Node) -> Iterator[str]:
    """Iterate over the names of the constants with more than one axis that ``node`` reads, directly or moved."""
    for value in node.inputs:
        source = origin(value, MOVERS | QUANTIZERS)
        if is_constant(source) and len(constant_shape(source)) > 1:
            assert source is not None
            yield source.name or ""


def _readers(optimized: Optimized) -> dict[str, list[ir.Node]]:
    """Map the initializers of the optimized graph to the products that read them."""
    readers = dict[str, list[ir.Node]]()
    for node, kernel in optimized.items():
        for constant in kernel.layer.constants if kernel.kind != "other" else ():
            readers.setdefault(constant.name, []).append(node)
    return readers


def _stored(node: ir.Node) -> str:
    """Return the format of the weight of ``node``, a layer of integers."""
    bits = node.attributes.get_int("bits", 8) if node.op_type in COMPRESSED_LAYERS else 8
    return f"int{bits}"
