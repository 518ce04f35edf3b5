"""Searches in the two operands of a product."""

from collections.abc import Iterator
from math import inf

import onnx_ir as ir

from ...ir.ops import CLIPPING, CONVOLUTIONS
from .qdq_graph import QdqGraph
from .qdq_nodes import Layer, ProductOperand, QdqNode
from .rule import Find, Violation
from .traverse import PAIR, producer

TARGET = "requant.target"
"""Key in a model's metadata of the target that it was quantized for, where weight-only layers are on purpose."""


def weight_scale_axis(*op_types: str) -> Find:
    """Return a search for weights of ``op_types``, or of all, with scales along an axis that is summed over."""

    def find(graph: QdqGraph) -> Iterator[Violation]:
        for layer in graph.products(*op_types):
            weight = layer.weight
            if weight is not None and weight.axis not in (None, weight.out_axis):
                yield layer.node, f"axis {weight.axis} instead of {weight.out_axis}"

    return find


def scale_per_channel(graph: QdqGraph) -> Iterator[Violation]:
    """Find activations with several scales that a layer multiplies; what runs in float may read them."""
    operands = (operand for layer in graph.layers.values() for operand in layer.operands if not operand.constant)
    for qdq in dict.fromkeys(operand.dequantizer for operand in operands):
        scale = qdq.scale if qdq is not None else None
        if qdq is not None and scale is not None and scale.size > 1:
            yield qdq.node, f"{scale.size} scales"


def float_partner(graph: QdqGraph) -> Iterator[Violation]:
    """Find dequantized activations that are multiplied by a float operand.

    Unless the integers are those that the kernel before writes.
    """
    for dequantized, other, layer in _single(graph):
        if not dequantized.constant and not _is_kernel_output(dequantized, graph):
            yield layer.node, "weight" if other.constant else "second activation"


def weight_only(graph: QdqGraph) -> Iterator[Violation]:
    """Find 8-bit weights that a float activation is multiplied by, unless the metadata say that this is on purpose."""
    if _family(graph.model.metadata_props.get(TARGET, "")) == _family(graph.target.name):
        return
    for dequantized, _, layer in _single(graph):
        dequantizer = dequantized.dequantizer
        if dequantized.constant and dequantizer and dequantizer.dtype in (ir.DataType.INT8, ir.DataType.UINT8):
            yield layer.node, dequantizer.dtype.name.lower()


def _family(name: str) -> str:
    """Return what targets of one engine have in common: ``cpu`` of ``cpu-avx2``."""
    return name.partition("-")[0]


def small_weight(graph: QdqGraph) -> Iterator[Violation]:
    """Find weights of fewer than 8 bits beside a quantized activation."""
    for layer, weight in _weights(graph):
        if weight.dtype.bitwidth < 8:
            yield layer.node, weight.dtype.name.lower()


def blocked_weight(graph: QdqGraph) -> Iterator[Violation]:
    """Find block-wise quantized weights beside a quantized activation."""
    for layer, weight in _weights(graph):
        if block := weight.node.attributes.get_int("block_size", 0):
            yield layer.node, f"blocks of {block}"


def uint8_weight(graph: QdqGraph) -> Iterator[Violation]:
    """Find uint8 weights beside a quantized activation."""
    for layer, weight in _weights(graph):
        if weight.dtype == ir.DataType.UINT8:
            yield layer.node, "uint8"


def half_scale(graph: QdqGraph) -> Iterator[Violation]:
    """Find products with scales in half precision."""
    for layer in graph.products():
        scale = layer.dequantizers[0].node.inputs[1]
        if scale is not None and scale.dtype in (ir.DataType.FLOAT16, ir.DataType.BFLOAT16):
            yield layer.node, scale.dtype.name.lower()


def half_scales(graph: QdqGraph) -> Iterator[Violation]:
    """Find products by a weight with several scales, where all scales are float16, and so the sums of integers."""
    for layer in graph.products():
        scales = [dequantizer.node.inputs[1] for dequantizer in layer.dequantizers]
        is_half = all(scale is not None and scale.dtype == ir.DataType.FLOAT16 for scale in scales)
        if is_half and layer.weight is not None and layer.weight.axis is not None:
            yield layer.node, "scale of the data"


def layer_of(*op_types: str) -> Find:
    """Return a search for layers of ``op_types`` with both operands quantized."""

    def find(graph: QdqGraph) -> Iterator[Violation]:
        for layer in graph.products(*op_types):
            yield layer.node, layer.node.op_type

    return find


def grouped_conv(graph: QdqGraph) -> Iterator[Violation]:
    """Find quantized Convs with several groups."""
    for layer in graph.products("Conv"):
        if (groups := layer.node.attributes.get_int("group", 1)) > 1:
            yield layer.node, f"{groups} groups"


def weight_first(graph: QdqGraph) -> Iterator[Violation]:
    """Find weights that are the first operand."""
    for layer in graph.products():
        if layer.operands[0].constant:
            yield layer.node, "the weight is the first operand"


def weight_moved(graph: QdqGraph) -> Iterator[Violation]:
    """Find weights, the second operand, with another op between them and their DQ."""
    for layer in graph.products():
        weight = layer.operands[1]
        if weight.constant and not layer.operands[0].constant and not weight.direct:
            yield layer.node, "another op is between the weight and its DequantizeLinear"


def shared_int8(graph: QdqGraph) -> Iterator[Violation]:
    """Find int8 activations with several consumers, where the engine takes uint8."""
    expected = graph.target.activations.get(ir.DataType.INT8)
    if expected is None or expected.dtype == ir.DataType.INT8:
        return
    for layer, dequantizer in graph.activations(ir.DataType.INT8):
        integers = dequantizer.node.inputs[0]
        outputs = [use.node.outputs[0] for use in integers.uses()] if integers is not None else []
        count = sum(len(output.uses()) + output.is_graph_output() for output in outputs)
        if count > 1:
            yield layer.node, f"{count} consumers"


def integer_product(graph: QdqGraph) -> Iterator[Violation]:
    """Find layers with both operands quantized."""
    for layer in graph.products():
        yield layer.node, layer.node.op_type


def thin_layer(graph: QdqGraph) -> Iterator[Violation]:
    """Find quantized layers with fewer channels than an integer kernel needs to pay."""
    for layer in graph.products():
        inputs, outputs = _channels(layer)
        channels, fewest = min(inputs, outputs), graph.target.fewest_channels
        if channels < fewest and not (layer.node.op_type in CONVOLUTIONS and channels % 8 == 0):
            yield layer.node, f"{inputs} to {outputs} channels"


def _channels(layer: Layer) -> tuple[float, float]:
    """Return K and N of the layer's weight; infinite when there is no weight or its sizes are unknown."""
    value, groups = layer.node.inputs[1], layer.node.attributes.get_int("group", 1)
    sizes = [size for size in value.shape or () if isinstance(size, int)] if value is not None else []
    if not layer.operands[1].constant or value is None or len(sizes) < 2 or len(sizes) != len(value.shape or ()):
        return inf, inf
    if layer.node.op_type == "Conv":
        return sizes[1] * groups, sizes[0]
    if layer.node.op_type == "ConvTranspose":
        return sizes[0], sizes[1] * groups
    return sizes[-2], sizes[-1]


def _weights(graph: QdqGraph) -> Iterator[tuple[Layer, QdqNode]]:
    for layer in graph.products():
        if layer.weight is not None and layer.weight.dequantizer is not None:
            yield layer, layer.weight.dequantizer


def _is_kernel_output(operand: ProductOperand, graph: QdqGraph) -> bool:
    """Tell whether the integers of ``operand`` are the output of an integer kernel: a Conv, or a node behind a DQ."""
    node = producer(operand.dequantizer.node.inputs[0], PAIR | CLIPPING) if operand.dequantizer else None
    if node is None or not graph.target.integer_outputs:
        return False
    if node in graph.layers:
        return node.op_type in graph.target.integer_outputs
    return graph.producer(node.inputs[0] if node.inputs else None) is not None


def _single(graph: QdqGraph) -> Iterator[tuple[ProductOperand, ProductOperand, Layer]]:
    """Iterate over layers with one dequantized operand: that one, the float one, the layer."""
    for layer in graph.layers.values():
        first, second = layer.operands
        if (first.dequantizer is None) != (second.dequantizer is None):
            yield (first, second, layer) if first.dequantizer else (second, first, layer)
