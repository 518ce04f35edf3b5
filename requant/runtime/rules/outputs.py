"""Searches behind a product: its bias, the quantizer of its output, and the consumers of that."""

from collections.abc import Iterator

import numpy as np
import onnx_ir as ir

from ...ir.constants import array
from ...ir.ops import CLIPPING, MEAN_POOLING, PRODUCTS
from .qdq_graph import QdqGraph
from .qdq_nodes import Layer, QdqNode
from .rule import Find, Violation
from .traverse import consumers, label, sole_consumer

_CLOSE = 1e-3
"""Relative difference up to which two scales of a bias count as the same."""

_INT8_AFTER_CONV = MEAN_POOLING | {"Resize"}
"""Ops that gain from the quantized output of a Conv."""

_INT32 = 2.0**31

_INVALID_RESHAPE = 21
"""From this opset on, the Reshape that ONNX Runtime puts before a Gemm fails its own type check in int8."""


def quantized_output(graph: QdqGraph) -> Iterator[Violation]:
    """Find quantized outputs of linear layers whose consumers gain nothing from the quantization."""
    for layer in graph.layers.values():
        for use in layer.node.outputs[0].uses():
            quantize = graph.nodes.get(use.node)
            if quantize is not None and quantize.quantizes and not _pays(layer, quantize, graph):
                yield quantize.node, layer.node.op_type


def unquantized_output(graph: QdqGraph) -> Iterator[Violation]:
    """Find Convs whose output, or the output of the Relu or Clip after it, is not quantized."""
    for layer in graph.products("Conv"):
        if not _is_quantize(_consumer_after_clip(layer.node.outputs[0]), graph):
            yield layer.node, "output"


def relu_between(graph: QdqGraph) -> Iterator[Violation]:
    """Find a Relu between a linear layer and a Q whose range reaches below 0."""
    for layer in graph.products():
        relu = sole_consumer(layer.node.outputs[0])
        if relu is not None and relu.op_type == "Relu":
            after = sole_consumer(relu.outputs[0])
            quantize = graph.nodes.get(after) if after is not None else None
            if quantize is not None and quantize.quantizes and _reaches_below_zero(quantize):
                yield layer.node, label(quantize.node)


def float_bias(graph: QdqGraph) -> Iterator[Violation]:
    """Find float biases that make the product a float Gemm."""
    for layer in graph.products("Gemm", "MatMul"):
        bias, output = bias_of(layer)
        dequantizer = graph.producer(bias)
        is_integer = dequantizer is not None and dequantizer.dtype == ir.DataType.INT32
        if bias is not None and not is_integer and not _is_quantize(sole_consumer(output), graph):
            yield layer.node, bias.name or "bias"


def bias_scale(*op_types: str) -> Find:
    """Return a search for int32 biases of ``op_types`` whose scale is not that of the product."""

    def find(graph: QdqGraph) -> Iterator[Violation]:
        for layer in graph.products(*op_types):
            bias = graph.producer(bias_of(layer)[0])
            if bias is not None and bias.dtype == ir.DataType.INT32 and not _has_product_scale(layer, bias):
                yield layer.node, label(bias.node)

    return find


def bias_overflow(graph: QdqGraph) -> Iterator[Violation]:
    """Find float biases of integer Convs with more steps of the product than int32 has."""
    for layer in graph.products("Conv"):
        value, output = bias_of(layer)
        bias, (data, weight) = array(value), (dequantizer.scale for dequantizer in layer.dequantizers)
        if bias is None or data is None or weight is None or not _is_quantize(_consumer_after_clip(output), graph):
            continue
        product = (data.astype(np.float64) * weight.astype(np.float64)).reshape(-1) if data.size == 1 else np.zeros(0)
        fits = product.size in (1, bias.size) and bool((product > 0).all())
        steps = np.abs(bias.astype(np.float64)) / product if fits else np.zeros(0)
        if (worst := float(steps.max(initial=0))) > _INT32:
            yield layer.node, f"{worst:.0e} steps"


def absent_zero_point(*, bias: bool) -> Find:
    """Return a search for Gemms, with a bias or without, with an operand whose zero point is left out.

    A MatMul and the Add after it are one with a bias.
    """

    def find(graph: QdqGraph) -> Iterator[Violation]:
        for layer in graph.products(*(PRODUCTS if bias else ("Gemm",))):
            if (bias_of(layer)[0] is not None) == bias:
                for dequantizer in layer.dequantizers:
                    if len(dequantizer.node.inputs) < 3 or dequantizer.node.inputs[2] is None:
                        yield layer.node, label(dequantizer.node)

    return find


def gemm_factors(graph: QdqGraph) -> Iterator[Violation]:
    """Find Gemms with a bias that multiply it or the product by a factor."""
    for layer in graph.products("Gemm"):
        for factor in ("alpha", "beta") if bias_of(layer)[0] is not None else ():
            if (number := layer.node.attributes.get_float(factor, 1.0)) != 1.0:
                yield layer.node, f"{factor} = {number:g}"


def reshaped_int8(graph: QdqGraph) -> Iterator[Violation]:
    """Find int8 activations of three axes or more whose product becomes a Gemm, at opset 21 or above."""
    if graph.opset < _INVALID_RESHAPE:
        return
    for layer, _ in graph.activations(ir.DataType.INT8):
        rank = len(layer.node.outputs[0].shape or ())
        if rank > 2 and bias_of(layer)[0] is not None:
            yield layer.node, f"{rank} axes"


def bias_of(layer: Layer) -> tuple[ir.Value | None, ir.Value]:
    """Return the value that ONNX Runtime adds to the product within one Gemm or Conv, and the value after it.

    A MatMul and the Add after it become a Gemm when the product is a matrix, or when all its dimensions are
    known and the bias has one axis.
    """
    node, product = layer.node, layer.node.outputs[0]
    if node.op_type != "MatMul":
        return (node.inputs[2] if len(node.inputs) > 2 else None), product
    add = sole_consumer(product)
    if add is None or add.op_type != "Add" or product.shape is None:
        return None, product
    bias = next((value for value in add.inputs if value is not product), None)
    if bias is None or bias.shape is None or len(bias.shape) == 0 or bias.shape[-1] != product.shape[-1]:
        return None, product
    if len(product.shape) > 2:
        weight = node.inputs[1]
        matrix = weight is not None and weight.shape is not None and len(weight.shape) == 2
        fused = matrix and product.shape.is_static() and len(bias.shape) == 1
    else:
        fused = len(bias.shape) <= 2
    return (bias, add.outputs[0]) if fused else (None, product)


def _consumer_after_clip(output: ir.Value) -> ir.Node | None:
    """Return the only consumer of ``output``, or that of the Relu or Clip that is the only one."""
    consumer = sole_consumer(output)
    clips = consumer is not None and consumer.op_type in CLIPPING
    return sole_consumer(consumer.outputs[0]) if consumer is not None and clips else consumer


def _is_quantize(node: ir.Node | None, graph: QdqGraph) -> bool:
    return node is not None and node in graph.nodes and graph.nodes[node].quantizes


def _reaches_below_zero(quantize: QdqNode) -> bool:
    zero_point = quantize.zero_point
    return zero_point is not None and bool((zero_point.astype(np.float32) > float(quantize.dtype.min)).any())


def _has_product_scale(layer: Layer, bias: QdqNode) -> bool:
    """Tell whether ``bias`` has the scale of the activation times the weight's. True when a scale is unknown."""
    first, second, third = (dequantizer.scale for dequantizer in (*layer.dequantizers, bias))
    if first is None or second is None or third is None or min(first.size, second.size) > 1:
        return True
    expected = first.astype(np.float64).reshape(-1) * second.astype(np.float64).reshape(-1)
    actual = third.astype(np.float64).reshape(-1)
    fits = 1 in (expected.size, actual.size) or expected.size == actual.size
    return fits and np.allclose(actual, expected, rtol=_CLOSE, atol=0)


def _pays(layer: Layer, quantize: QdqNode, graph: QdqGraph) -> bool:
    """Tell whether a consumer behind the Q's DQ works on integers; True when there is no DQ."""
    ends = [node for node in consumers(quantize.node.outputs[0]) if node is not None and node in graph.nodes]
    users = [user for end in ends for user in consumers(end.outputs[0])]
    return not users or any(user is not None and _gains(user, layer, graph) for user in users)


def _gains(user: ir.Node, layer: Layer, graph: QdqGraph) -> bool:
    if layer.node.op_type != "Conv":
        return user in graph.layers
    residual = user.op_type == "Add" and all(value and value.const_value is None for value in user.inputs)
    return user in graph.layers or residual or user.op_type in _INT8_AFTER_CONV
