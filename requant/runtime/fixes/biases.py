"""A bias that ONNX Runtime's integer kernels take.

As [1, …, N] it does not join the product in a float Gemm. As int32 codes with the scale of the product, s_x · s_w, it
joins it in an integer one; that rounds it to a multiple of s_x · s_w.
"""

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from ...ir.constants import array, constant
from ..rules.outputs import bias_of
from ..rules.parts import Layer
from ..rules.qdq_graph import View
from .grid import grid

_LARGEST = 2**31 - 1


def as_row(view: View, node: ir.Node) -> bool:
    """The bias after the MatMul ``node``, of three axes or more, as [1, …, N]."""
    (value, output), shape = bias_of(view.layers[node]), node.outputs[0].shape
    numbers, add, rank = array(value), output.producer(), len(shape) if shape is not None else 0
    if node.op_type != "MatMul" or value is None or numbers is None or add is None or rank < 3:
        return False
    assert isinstance(add.graph, ir.Graph)
    _replace(add, value, constant(add.graph, numbers.reshape((1,) * (rank - 1) + (-1,)), f"{value.name}.row"))
    return True


def as_codes(view: View, node: ir.Node) -> bool:
    """The bias of the layer ``node`` as int32 codes with the scale of the product."""
    layer = view.layers[node]
    value, output = bias_of(layer)
    scale, numbers = _scale(layer), _numbers(view, value)
    consumer = output.producer()
    if consumer is None or value is None or scale is None or numbers is None or not _is_plain(layer):
        return False
    count = max(scale.size, numbers.size)
    if count == 1 or not {scale.size, numbers.size} <= {1, count} or not (scale > 0).all():
        return False
    codes = np.rint(np.broadcast_to(numbers, count) / scale)
    if not (np.abs(codes) <= _LARGEST).all():
        return False
    shaped = scale.astype(np.float32) if scale.size > 1 else scale.astype(np.float32).reshape(())
    _replace(consumer, value, _dequantize(consumer, f"{output.name}.bias", codes.astype(np.int32), shaped))
    return True


def _is_plain(layer: Layer) -> bool:
    """Whether the bias is added to the product as it is, and the weight's scales are those of its outputs."""
    factors = [layer.node.attributes.get_float(factor, 1.0) for factor in ("alpha", "beta")]
    weight = layer.weight
    return factors == [1.0, 1.0] and (weight is None or weight.axis in (None, weight.out_axis))


def _scale(layer: Layer) -> NDArray[np.float64] | None:
    """The scale of the product, [1] or [N]; None when one is not known."""
    scales = [step.scale for step in layer.steps]
    first, second = (None if scale is None else scale.astype(np.float64).reshape(-1) for scale in scales)
    return None if first is None or second is None or min(first.size, second.size) > 1 else first * second


def _numbers(view: View, bias: ir.Value | None) -> NDArray[np.float64] | None:
    """The bias, [1] or [N]; None when it is computed, or varies along more than its last axis."""
    step = view.step_of(bias)
    codes, own = (array(step.node.inputs[0]), grid(step.node)) if step is not None else (None, None)
    numbers = own.dequantized(codes) if own is not None and codes is not None else array(bias)
    if numbers is None or any(size > 1 for size in numbers.shape[:-1]):
        return None
    return numbers.astype(np.float64).reshape(-1)


def _dequantize(consumer: ir.Node, name: str, codes: NDArray[np.int32], scale: NDArray[np.float32]) -> ir.Value:
    """A new DequantizeLinear for ``consumer``."""
    assert isinstance(consumer.graph, ir.Graph)
    stored = [constant(consumer.graph, codes, f"{name}.codes"), constant(consumer.graph, scale, f"{name}.scale")]
    node = ir.node("DequantizeLinear", stored, {"axis": 0} if scale.ndim else {}, name=f"{name}.dequantize")
    out = node.outputs[0]
    out.name, out.shape, out.type = f"{name}.dequantized", ir.Shape(codes.shape), ir.TensorType(ir.DataType.FLOAT)
    consumer.graph.insert_before(consumer, node)
    return out


def _replace(consumer: ir.Node, old: ir.Value, new: ir.Value) -> None:
    for position, value in enumerate(consumer.inputs):
        if value is old:
            consumer.replace_input_with(position, new)
