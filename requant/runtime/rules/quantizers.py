"""Searches for Q and DQ nodes, and properties of the whole model, that an engine does not take."""

from collections.abc import Callable, Iterator

import numpy as np
import onnx_ir as ir

from ...ir.constants import array, is_constant
from .qdq_graph import QdqGraph
from .qdq_nodes import QdqNode
from .rule import Find, Violation
from .traverse import consumers

INTEGER_OPS = (
    *("QLinear", "QGemm", "QAttention", "QEmbed", "QOrdered", "QMoE"),
    *("DynamicQuantize", "MatMulInteger", "MatMulNBits", "ConvInteger"),
)
"""Prefixes of the names of operators on integers."""


def opset_too_high(graph: QdqGraph) -> Iterator[Violation]:
    """Find an ONNX opset that is newer than the engine."""
    if graph.opset > graph.target.highest_opset:
        yield None, f"opset {graph.opset} is above {graph.target.highest_opset}"


def ir_version_too_high(graph: QdqGraph) -> Iterator[Violation]:
    """Find a file format that is newer than the engine."""
    version, highest = graph.model.ir_version, graph.target.highest_ir
    if version is not None and version > highest:
        yield None, f"IR version {version} is above {highest}"


def integer_op(graph: QdqGraph) -> Iterator[Violation]:
    """Find ops that multiply integers themselves, instead of Q/DQ around a float op."""
    for node in graph.model.graph.all_nodes():
        if node.op_type.startswith(INTEGER_OPS):
            yield node, node.op_type


def nothing_quantized(graph: QdqGraph) -> Iterator[Violation]:
    """Find a model without a layer that multiplies quantized values."""
    layers = any(layer.dequantizers for layer in graph.layers.values())
    if not layers and next(integer_op(graph), None) is None:
        yield None, "no layer of the model is quantized"


def nonzero_zero_point(graph: QdqGraph) -> Iterator[Violation]:
    """Find quantizers with a zero point other than 0."""
    for qdq in _quantizers(graph):
        zero_point = qdq.zero_point
        if zero_point is not None and (nonzero := zero_point[zero_point.astype(np.float32) != 0]).size:
            yield qdq.node, f"zero point {nonzero.flat[0]}"


def computed_scale(graph: QdqGraph) -> Iterator[Violation]:
    """Find scales and zero points that are computed at run time."""
    for qdq in _quantizers(graph):
        if any(value is not None and not _is_stored(value) for value in qdq.node.inputs[1:3]):
            yield qdq.node, "scale or zero point"


def scale_per_channel(graph: QdqGraph) -> Iterator[Violation]:
    """Find activations with several scales."""
    for qdq in _quantizers(graph):
        scale = qdq.scale
        if not qdq.constant and scale is not None and scale.size > 1:
            yield qdq.node, f"{scale.size} scales"


def scale_not_positive(graph: QdqGraph) -> Iterator[Violation]:
    """Find scales that are 0, negative or NaN."""
    yield from _scales(graph, lambda scale, smallest: not scale > 0)


def scale_not_normal(graph: QdqGraph) -> Iterator[Violation]:
    """Find scales that are infinite, or subnormal in their type."""
    yield from _scales(graph, lambda scale, smallest: scale == np.inf or 0 < scale < smallest)


def dangling_quantize(graph: QdqGraph) -> Iterator[Violation]:
    """Find Q nodes with a consumer that is no DQ, or with none."""
    for node, qdq in graph.nodes.items():
        if qdq.quantizes:
            ends = list(consumers(node.outputs[0]))
            unmatched = {end.op_type if end else "an output" for end in ends if end not in graph.nodes}
            if unmatched or not ends:
                yield node, ", ".join(sorted(unmatched)) or "nothing"


def quantized_as(*types: ir.DataType, constant: bool | None = None) -> Find:
    """Return a search for quantizers of ``types``: all, or only those of constants, or only those of activations."""

    def find(graph: QdqGraph) -> Iterator[Violation]:
        for qdq in _quantizers(graph):
            if qdq.dtype in types and constant in (None, qdq.constant):
                yield qdq.node, qdq.dtype.name.lower()

    return find


def same_parameters(first: QdqNode, second: QdqNode) -> bool:
    """Tell whether two nodes have the same scale and zero point."""
    return len(first.node.inputs) == len(second.node.inputs) and all(
        one is other or (one is not None and other is not None and _equal(one, other))
        for one, other in zip(first.node.inputs[1:], second.node.inputs[1:], strict=True)
    )


def _quantizers(graph: QdqGraph) -> Iterator[QdqNode]:
    """Iterate over the nodes, leaving out each DQ whose Q has the same scale and zero point."""
    for qdq in graph.nodes.values():
        quantize = None if qdq.quantizes else graph.producer(qdq.node.inputs[0])
        if quantize is None or not same_parameters(quantize, qdq):
            yield qdq


def _equal(one: ir.Value, other: ir.Value) -> bool:
    first, second = array(one), array(other)
    return first is not None and second is not None and np.array_equal(first, second, equal_nan=True)


def _is_stored(value: ir.Value) -> bool:
    """Tell whether ``value`` is constant, or a Cast of a constant."""
    producer = value.producer()
    cast = producer is not None and producer.op_type == "Cast" and is_constant(producer.inputs[0])
    return is_constant(value) or cast


def _scales(graph: QdqGraph, is_invalid: Callable[[float, float], bool]) -> Iterator[Violation]:
    for qdq in _quantizers(graph):
        value, scale = qdq.node.inputs[1], qdq.scale
        if scale is None or value is None:
            continue
        smallest = float(value.dtype.tiny) if value.dtype is not None else 0.0
        for number in scale.astype(np.float32).flat:
            if is_invalid(float(number), smallest):
                yield qdq.node, f"scale {number}"
                break
