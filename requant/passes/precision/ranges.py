"""Float32 numbers in a type of smaller range: those that do not fit, and masks, which may be smaller than they are.

softmax(x - 3.4e38) = softmax(x - 16376) = 0 where a mask says so. In float16 the first is -inf, and a row of nothing
but -inf becomes NaN. Three of the second and a score can be added up before that happens.
"""

from collections.abc import Iterator

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from ...ir.constants import lazily
from ...ir.ops import ARITHMETIC, CONVERSIONS, EXTREMA, MASKING, SOFTMAXES
from ...ir.traverse import Slot, reachable
from .scalar_paths import PLAIN_MOVEMENT

_CARRIERS = ARITHMETIC | EXTREMA | PLAIN_MOVEMENT | CONVERSIONS | MASKING | {"ConstantOfShape"}
"""Ops between a mask and the softmax that reads it."""


def headroom(dtype: ir.DataType) -> float:
    """Return a quarter of the largest number of ``dtype``: a few of these add up without overflow."""
    return float(dtype.max) / 4


def masks(graph: ir.Graph) -> set[ir.Value]:
    """Return the values that are added to what a softmax reads, so that a large number in them stands for infinity."""
    nodes = list(graph.all_nodes())
    operands = [node.inputs[0] for node in nodes if node.op_type in SOFTMAXES]
    operands += [node.inputs[3] for node in nodes if node.op_type == "Attention" and len(node.inputs) > 3]
    return set(reachable(filter(None, operands), _mask_operands))


def _mask_operands(value: ir.Value) -> list[ir.Value]:
    producer = value.producer()
    return [] if producer is None or producer.op_type not in _CARRIERS else list(filter(None, producer.inputs))


def misfit(tensor: ir.TensorProtocol, dtype: ir.DataType) -> float | None:
    """Return a finite number in ``tensor`` that is too large for ``dtype``, or the only one if that is too small."""
    data = tensor.numpy().ravel()
    finite = data[np.isfinite(data)].astype(np.float64)
    if not finite.size:
        return None
    largest = float(finite[np.abs(finite).argmax()])
    if abs(largest) > float(dtype.max):
        return largest
    off = abs(float(finite.astype(dtype.numpy())[0]) - finite[0])
    return largest if data.size == 1 and off > float(dtype.eps) * abs(largest) else None


def stored_constants(graph: ir.Graph) -> Iterator[tuple[ir.Value, ir.TensorProtocol, list[Slot]]]:
    """Yield every constant with its consumers; ConstantOfShape counts as the consumer of its own."""
    for value in graph.initializers.values():
        if value.const_value is not None:
            yield value, value.const_value, [(node, position) for node, position in value.uses()]
    for node in graph:
        filling = node.attributes.get("value") if node.op_type == "ConstantOfShape" else None
        if filling is not None:
            yield node.outputs[0], filling.as_tensor(), [(node, 0)]


def narrowed(tensor: ir.TensorProtocol, dtype: ir.DataType, limit: float) -> ir.LazyTensor:
    """Return ``tensor`` in ``dtype``, its finite numbers cut off at ± ``limit``; infinity stays infinite."""

    def narrow(data: NDArray[np.generic]) -> NDArray[np.generic]:
        floats = data.astype(np.float32, copy=False)
        return np.where(np.isinf(floats), floats, np.clip(floats, -limit, limit))

    return lazily(narrow, tensor, dtype=dtype)
