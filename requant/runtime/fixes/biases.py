"""Fixes of a bias, for integer kernels.

In ONNX Runtime, it stays outside of the float Gemm that would replace the product as [1, …, N]. In int32 with the scale
of the product, s_x · s_w, it is added within the integer one; that rounds it to a multiple of s_x · s_w. In OpenVINO, a
Conv with several consumers needs one.
"""

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from ...ir.constants import array, constant
from ..rules.outputs import bias_of
from ..rules.qdq_graph import QdqGraph
from ..rules.qdq_nodes import Layer
from .node_quantizer import dequantize, node_quantizer

_LARGEST = 2**31 - 1

_SMALLEST = 2.0**-24
"""The smallest number above 0 that float16 holds."""


def as_row(graph: QdqGraph, node: ir.Node) -> bool:
    """Store the bias after the MatMul ``node``, of three axes or more, as [1, …, N]."""
    (value, output), shape = bias_of(graph.layers[node]), node.outputs[0].shape
    numbers, add, rank = array(value), output.producer(), len(shape) if shape is not None else 0
    if node.op_type != "MatMul" or value is None or numbers is None or add is None or rank < 3:
        return False
    assert isinstance(add.graph, ir.Graph)
    _replace(add, value, constant(add.graph, numbers.reshape((1,) * (rank - 1) + (-1,)), f"{value.name}.row"))
    return True


def as_int32(graph: QdqGraph, node: ir.Node) -> bool:
    """Store the bias of the layer ``node`` in int32 with the scale of the product."""
    layer = graph.layers[node]
    value, output = bias_of(layer)
    scale, numbers = _product_scale(layer), _bias_numbers(graph, value)
    consumer = output.producer()
    if consumer is None or value is None or scale is None or numbers is None or not _is_plain(layer):
        return False
    count = max(scale.size, numbers.size)
    if count == 1 or not {scale.size, numbers.size} <= {1, count} or not (scale > 0).all():
        return False
    steps = np.rint(np.broadcast_to(numbers, count) / scale)
    if not (np.abs(steps) <= _LARGEST).all():
        return False
    shaped = scale.astype(np.float32) if scale.size > 1 else scale.astype(np.float32).reshape(())
    _replace(consumer, value, _dequantized(consumer, f"{output.name}.bias", steps.astype(np.int32), shaped))
    return True


def smallest(graph: QdqGraph, node: ir.Node) -> bool:
    """Give the Conv ``node`` the `small_bias`."""
    return small_bias(node)


def small_bias(conv: ir.Node) -> bool:
    """Give ``conv``, which has no bias or one of zeros, the smallest one that is not 0 in any float type."""
    weight = conv.inputs[1]
    if weight is None or weight.shape is None or weight.dtype is None or not isinstance(weight.shape[0], int):
        return False
    assert isinstance(conv.graph, ir.Graph)
    numbers = np.full(weight.shape[0], _SMALLEST, weight.dtype.numpy())
    conv.resize_inputs(3)
    conv.replace_input_with(2, constant(conv.graph, numbers, f"{conv.outputs[0].name}.bias"))
    return True


def _is_plain(layer: Layer) -> bool:
    """Tell whether the bias is added without a factor, and the weight's scales are those of its outputs."""
    factors = [layer.node.attributes.get_float(factor, 1.0) for factor in ("alpha", "beta")]
    weight = layer.weight
    return factors == [1.0, 1.0] and (weight is None or weight.axis in (None, weight.out_axis))


def _product_scale(layer: Layer) -> NDArray[np.float64] | None:
    """Return the scale of the product, [1] or [N]; None when one of the two is computed at run time."""
    scales = [dequantizer.scale for dequantizer in layer.dequantizers]
    first, second = (None if scale is None else scale.astype(np.float64).reshape(-1) for scale in scales)
    return None if first is None or second is None or min(first.size, second.size) > 1 else first * second


def _bias_numbers(graph: QdqGraph, bias: ir.Value | None) -> NDArray[np.float64] | None:
    """Return the bias, [1] or [N]; None when it is computed, or varies along more than its last axis."""
    dequantizer = graph.producer(bias)
    quantizer = node_quantizer(dequantizer.node) if dequantizer is not None else None
    integers = array(dequantizer.node.inputs[0]) if dequantizer is not None else None
    numbers = dequantize(quantizer, integers) if quantizer is not None and integers is not None else array(bias)
    if numbers is None or any(size > 1 for size in numbers.shape[:-1]):
        return None
    return numbers.astype(np.float64).reshape(-1)


def _dequantized(consumer: ir.Node, name: str, integers: NDArray[np.int32], scale: NDArray[np.float32]) -> ir.Value:
    """Insert a DequantizeLinear before ``consumer`` and return its output."""
    assert isinstance(consumer.graph, ir.Graph)
    inputs = [constant(consumer.graph, integers, f"{name}.codes"), constant(consumer.graph, scale, f"{name}.scale")]
    node = ir.node("DequantizeLinear", inputs, {"axis": 0} if scale.ndim else {}, name=f"{name}.dequantize")
    output = node.outputs[0]
    output.name, output.shape = f"{name}.dequantized", ir.Shape(integers.shape)
    output.type = ir.TensorType(ir.DataType.FLOAT)
    consumer.graph.insert_before(consumer, node)
    return output


def _replace(consumer: ir.Node, old: ir.Value, new: ir.Value) -> None:
    for position, value in enumerate(consumer.inputs):
        if value is old:
            consumer.replace_input_with(position, new)
