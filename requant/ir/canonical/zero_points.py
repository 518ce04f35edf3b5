"""Zero points that a compressed weight leaves out.

    DequantizeLinear(Q, s) = DequantizeLinear(Q, s, 0)

ONNX Runtime converts integers to another type on some processors, and then takes one that is left out for a scalar.
"""

import numpy as np
import onnx_ir as ir

from ..constants import constant, is_constant
from ..ops import QUANTIZERS, is_op

_BYTES = frozenset({ir.DataType.INT8, ir.DataType.UINT8})


def store_zero_points(model: ir.Model) -> None:
    """Give a zero point to each DequantizeLinear of a constant of 8 bits in the main graph that has none."""
    for node in list(model.graph):
        if not is_op(node, QUANTIZERS) or node.op_type != "DequantizeLinear":
            continue
        integers, scale, *rest = node.inputs
        if not is_constant(integers) or not is_constant(scale) or (rest and rest[0] is not None):
            continue
        weight, steps = _tensor(integers), _tensor(scale)
        if weight.dtype in _BYTES:
            zeros = np.zeros(steps.shape.numpy(), weight.dtype.numpy())
            node.resize_inputs(3)
            node.replace_input_with(2, constant(model.graph, zeros, f"{weight.name}.zero_point"))


def _tensor(value: ir.Value | None) -> ir.TensorProtocol:
    assert value is not None
    assert value.const_value is not None
    return value.const_value
