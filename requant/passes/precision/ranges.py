"""Float32 numbers in a type that ends earlier: which do not fit, and which may be smaller than they are.

softmax(x - 3.4e38) = softmax(x - 16376) = 0 where a mask says so. In float16 the first is -inf, and a row of nothing
but -inf becomes NaN. Three of the second and a score can be added up before that happens.
"""

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from ...ir.constants import lazily

_CARRIERS = frozenset(
    (
        *("Add", "Cast", "Concat", "ConstantOfShape", "Div", "Expand", "Gather", "Identity", "Max", "Min", "Mul"),
        *("Reshape", "Slice", "Split", "Squeeze", "Sub", "Tile", "Transpose", "Trilu", "Unsqueeze", "Where"),
    )
)
"""What is done to a mask before a softmax sees it."""

_SOFTMAX = ("Softmax", "LogSoftmax")


def headroom(dtype: ir.DataType) -> float:
    """A quarter of the largest number of ``dtype``: what a few of are added up without overflow."""
    return float(dtype.max) / 4


def masks(graph: ir.Graph) -> set[ir.Value]:
    """The values that are added to what a softmax reads, so that a large number in them stands for infinity."""
    nodes = list(graph.all_nodes())
    queue = [node.inputs[0] for node in nodes if node.op_type in _SOFTMAX]
    queue += [node.inputs[3] for node in nodes if node.op_type == "Attention" and len(node.inputs) > 3]
    found: set[ir.Value] = set()
    for value in queue:
        if value is None or value in found:
            continue
        found.add(value)
        maker = value.producer()
        queue += maker.inputs if maker is not None and maker.op_type in _CARRIERS else ()
    return found


def misfit(tensor: ir.TensorProtocol, dtype: ir.DataType) -> float | None:
    """A finite number in ``tensor`` that is too large for ``dtype``, or the only one if that is too small."""
    data = tensor.numpy().ravel()
    finite = data[np.isfinite(data)].astype(np.float64)
    if not finite.size:
        return None
    largest = float(finite[np.abs(finite).argmax()])
    if abs(largest) > float(dtype.max):
        return largest
    off = abs(float(finite.astype(dtype.numpy())[0]) - finite[0])
    return largest if data.size == 1 and off > float(dtype.eps) * abs(largest) else None


def narrowed(tensor: ir.TensorProtocol, dtype: ir.DataType, limit: float) -> ir.LazyTensor:
    """``tensor`` in ``dtype``, its finite numbers cut off at ± ``limit``; infinity stays infinite."""

    def narrow(data: NDArray[np.generic]) -> NDArray[np.generic]:
        wide = data.astype(np.float32, copy=False)
        return np.where(np.isinf(wide), wide, np.clip(wide, -limit, limit))

    return lazily(narrow, tensor, dtype=dtype)
