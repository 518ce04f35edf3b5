"""Fixes that requantize exactly, in integers of another type: (q - z) · s = ((q + c) - (z + c)) · s."""

from collections.abc import Iterator, Sequence

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from ...ir.constants import array, constant, is_constant, lazily
from ...ir.ops import QUANTIZERS
from ..rules.qdq_graph import QdqGraph
from ..rules.qdq_nodes import QdqNode

_COUNTERPARTS = {
    ir.DataType.UINT8: (ir.DataType.INT8, -128),
    ir.DataType.INT8: (ir.DataType.UINT8, 128),
    ir.DataType.UINT4: (ir.DataType.INT8, -8),
    ir.DataType.INT4: (ir.DataType.INT8, 0),
}
"""By integer type, the one to use instead and the offset to add."""


def symmetric(graph: QdqGraph, node: ir.Node) -> bool:
    """Requantize uint8 with zero point 128, at the Q or DQ ``node``, as int8 with zero point 0."""
    zero_point = graph.nodes[node].zero_point
    middle = zero_point is not None and bool((zero_point.astype(np.int64) == 128).all())
    return middle and _requantize(graph.nodes[node])


def int8_weight(graph: QdqGraph, node: ir.Node) -> bool:
    """Requantize the weight of the layer ``node``, uint8 or narrower, as int8."""
    weight = graph.layers[node].weight
    return weight is not None and weight.dequantizer is not None and _requantize(weight.dequantizer)


def unsigned(graph: QdqGraph, nodes: Sequence[ir.Node | None]) -> Iterator[ir.Node]:
    """Requantize int8 activations of the layers ``nodes`` as uint8.

    All other activations in the model go with them, since an integer kernel wants one type throughout.
    """
    operands = [operand for layer in graph.layers.values() for operand in layer.operands]
    weights = {operand.dequantizer.integers for operand in operands if operand.constant and operand.dequantizer}
    for qdq in graph.nodes.values():
        if qdq.dtype == ir.DataType.INT8 and qdq.integers not in weights:
            _requantize(qdq)
    for node in nodes:
        operands = [operand for operand in graph.layers[node].operands if not operand.constant] if node else []
        values = [operand.dequantizer.integers for operand in operands if operand.dequantizer]
        if node and all(value is not None and value.dtype == ir.DataType.UINT8 for value in values):
            yield node


def stored_zero_points(graph: QdqGraph, node: ir.Node) -> bool:
    """Store the zero points that the operands of the layer ``node`` leave out, which are 0."""
    missing = [
        (end, zeros)
        for dequantizer in graph.layers[node].dequantizers
        for end in _ends(dequantizer)
        if (len(end.inputs) < 3 or end.inputs[2] is None) and (zeros := _zero_point(end, dequantizer)) is not None
    ]
    for end, zeros in missing:
        _store(end, zeros)
    return bool(missing)


def _requantize(qdq: QdqNode) -> bool:
    """Give the integers of ``qdq`` and all their users the counterpart type; False where that is not exact."""
    integers, ends = qdq.integers, _ends(qdq)
    zero_points = [zeros for end in ends if (zeros := _zero_point(end, qdq)) is not None]
    if integers is None or integers.dtype != qdq.dtype or qdq.dtype not in _COUNTERPARTS:
        return False
    if integers.is_graph_output() or len(zero_points) < len(ends):
        return False
    dtype, offset = _COUNTERPARTS[qdq.dtype]

    def shifted(data: NDArray[np.generic]) -> NDArray[np.generic]:
        return (data.astype(np.int16) + offset).astype(dtype.numpy())

    owner, quantize = integers.graph, integers.producer()
    if is_constant(integers) and isinstance(owner, ir.Graph) and integers.const_value is not None:
        stored = lazily(shifted, integers.const_value, dtype=dtype)
        integers.replace_all_uses_with(constant(owner, stored, f"{integers.name}.{dtype.name.lower()}"))
    elif quantize is not None and quantize.op_type == "QuantizeLinear" and dtype.bitwidth == qdq.dtype.bitwidth:
        integers.type = ir.TensorType(dtype)
        quantize.attributes.pop("output_dtype", None)
    else:
        return False
    for end, zeros in zip(ends, zero_points, strict=True):
        _store(end, shifted(zeros))
    return True


def _ends(qdq: QdqNode) -> list[ir.Node]:
    """List the Q that computes the integers of ``qdq``, if any, and their consumers."""
    integers = qdq.integers
    quantize = integers.producer() if integers is not None else None
    first = [quantize] if quantize is not None and quantize.op_type == "QuantizeLinear" else []
    return first + [use.node for use in integers.uses()] if integers is not None else []


def _zero_point(end: ir.Node, qdq: QdqNode) -> NDArray[np.generic] | None:
    """Return the zero point of a Q or DQ, also when it is left out; None when ``end`` is neither or computes it."""
    if end.op_type not in QUANTIZERS:
        return None
    scale, zero_point = array(end.inputs[1]), end.inputs[2] if len(end.inputs) > 2 else None
    if zero_point is None:
        return None if scale is None else np.zeros(scale.shape, qdq.dtype.numpy())
    return array(zero_point)


def _store(end: ir.Node, zero_point: NDArray[np.generic]) -> None:
    assert isinstance(end.graph, ir.Graph)
    end.resize_inputs(3)
    end.replace_input_with(2, constant(end.graph, zero_point, f"{end.outputs[0].name}.zero_point"))
