"""The kernels that compute the planned layers of a graph: which node of the optimized graph is which layer.

ONNX Runtime fuses nodes. A fused node has the name of the layer in it, or a new one, and then what it writes keeps its
name; a Conv whose channels go in blocks is called after what it wrote. A layer is the kernel of its name, or else the
one that writes the first value behind it that is left, or else the one that reads its weight:

    MatMulInteger → Cast → Mul → Add = y        MatMulIntegerToFloat = y
"""

import re
from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass

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

_COPIED = re.compile(r"(_token_\d+)+$")
"""The ending of the name of a node that was written again with another layout."""

_BLOCKED = "_nchwc"
"""The ending of the name of a Conv whose channels go in blocks, behind that of the value that it wrote before."""

_REORDERING = frozenset({"ReorderInput", "ReorderOutput"})
"""Changes of layout, in ONNX Runtime's own domain."""

_TRANSPARENT = MOVEMENT | QUANTIZERS | CONVERSIONS | _REORDERING
"""Ops of kernels that ONNX Runtime puts behind a layer where it changes its layout or its type."""


@dataclass(frozen=True)
class OptimizedGraph:
    """The kernels of the optimized graph by its nodes, and these by their names and by what they read and write."""

    kernels: Mapping[ir.Node, SessionKernel]
    names: Mapping[str, ir.Node]
    writers: Mapping[str, ir.Node]
    readers: Mapping[str, ir.Node]

    @classmethod
    def of(cls, kernels: Mapping[ir.Node, SessionKernel]) -> "OptimizedGraph":
        """Index the nodes of ``kernels``; ``readers`` are products, by the names of their weights."""
        named = [(node.name or "", node) for node in kernels]
        names = {_COPIED.sub("", name): node for name, node in named} | dict(named)
        blocked = {name.removesuffix(_BLOCKED): node for name, node in named if name.endswith(_BLOCKED)}
        writers = {value.name or "": node for node in kernels for value in node.outputs}
        products = [node for node, kernel in kernels.items() if kernel.kind != "other"]
        readers = {constant.name: node for node in products for constant in kernels[node].layer.constants}
        return cls(kernels, names, blocked | writers, readers)

    def product(self, node: ir.Node, stops: Container[ir.Node]) -> Kernels:
        """Return the kernel of the layer ``node``; none where ONNX Runtime has left no trace of it."""
        weights = (self.readers.get(name) for name in _constants(node))
        candidates = (self.names.get(node.name or ""), self.behind(node, stops, _TRANSPARENT), *weights)
        kernels = (self.kernels[one] for one in candidates if one is not None)
        return tuple(kernel for kernel in kernels if kernel.kind != "other")[:1]

    def behind(self, node: ir.Node, stops: Container[ir.Node], through: Container[str]) -> ir.Node | None:
        """Return the node that writes the first value behind ``node`` that is left, and before any of ``stops``.

        Where that node is one of ``through``, it is the next one upstream that is none.
        """

        def readers(value: ir.Value) -> list[ir.Value]:
            return [output for use in value.uses() if use.node not in stops for output in use.node.outputs]

        values = reachable(node.outputs, readers)
        writer = next((self.writers[name] for value in values if (name := value.name or "") in self.writers), None)
        if writer is None or writer.op_type not in through:
            return writer
        return producer(writer.inputs[0], through)


def planned_kernels(graph: QdqGraph, optimized: OptimizedGraph) -> dict[PlannedProduct, Kernels]:
    """Map the layers of ``graph`` to their kernels."""
    planned = list(_planned(graph))
    layers = {node for _, node in planned}
    return {product: optimized.product(node, layers) for product, node in planned}


def kernels_between(graph: QdqGraph, optimized: OptimizedGraph) -> dict[str, SessionKernel]:
    """Map nodes that read integers by DQ alone, and are read by Q alone, to the kernels that compute them.

    Where such a node was fused with others in float, that is the QuantizeLinear behind. Products are left out, and what
    only moves.
    """
    between = dict[str, SessionKernel]()
    for node in graph.model.graph.all_nodes():
        if node not in graph.nodes and node.op_type not in LINEAR | MOVERS and _is_between(graph, node):
            found = optimized.names.get(node.name or "") or optimized.behind(node, (), MOVEMENT | _REORDERING)
            if found is not None:
                between[graph.label(node)] = optimized.kernels[found]
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
            compressed = layer.node.op_type in COMPRESSED_LAYERS
            bits = layer.node.attributes.get_int("bits", 8) if compressed else 8
            yield PlannedProduct(graph.label(layer.node), "" if compressed else "int8", f"int{bits}"), layer.node


def _constants(node: ir.Node) -> Iterator[str]:
    """Iterate over the names of the constants with more than one axis that ``node`` reads, directly or moved."""
    for value in node.inputs:
        source = origin(value, MOVERS | QUANTIZERS)
        if is_constant(source) and len(constant_shape(source)) > 1:
            assert source is not None
            yield source.name or ""
