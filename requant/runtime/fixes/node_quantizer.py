"""The quantizer that a Q or DQ node stores, and what the node computes with it, in float32 as the operators do.

    DequantizeLinear: x = (q - z) · s        QuantizeLinear: q = round(x / s) + z, saturating at the ends of the type

The `requant.ir.quantizer.Quantizer` of a plan rounds x / s + z at once and leaves out the -128 of weights; these do
not.
"""

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from ...ir.constants import array
from ...ir.quantizer import Quantizer

Float = NDArray[np.float32]


def node_quantizer(node: ir.Node) -> Quantizer | None:
    """Return the quantizer of a Q or DQ; None when its scale or zero point is computed at run time."""
    scale, stored = array(node.inputs[1]), node.inputs[2] if len(node.inputs) > 2 else None
    zero_point = array(stored)
    if scale is None or (stored is not None and zero_point is None):
        return None
    integers = node.outputs[0] if node.op_type == "QuantizeLinear" else node.inputs[0]
    dtype = integers.dtype if integers is not None and integers.dtype is not None else ir.DataType.UINT8
    zeros = np.zeros(scale.shape, np.float32) if zero_point is None else zero_point.astype(np.float32)
    scales, block = scale.astype(np.float32), node.attributes.get_int("block_size", 0)
    if not block and scales.size == zeros.size == 1:
        return Quantizer(scales.reshape(()), dtype=dtype, zero_point=zeros.reshape(()))
    return Quantizer(scales, node.attributes.get_int("axis", 1), dtype, block=block, zero_point=zeros)


def dequantize(quantizer: Quantizer, integers: NDArray[np.generic]) -> Float:
    """Compute the output of the DequantizeLinear node."""
    steps = integers.astype(np.float32) - quantizer.spread(_zeros(quantizer), integers.shape)
    numbers: Float = steps * quantizer.spread(quantizer.scale, integers.shape)
    return numbers


def quantize(quantizer: Quantizer, numbers: NDArray[np.generic]) -> Float:
    """Compute the output of the QuantizeLinear node, as float32."""
    steps = np.rint(numbers.astype(np.float32) / quantizer.spread(quantizer.scale, numbers.shape))
    integers: Float = steps + quantizer.spread(_zeros(quantizer), numbers.shape)
    return np.clip(integers, *_limits(quantizer))


def real_range(quantizer: Quantizer) -> Float:
    """Return the real values of the lowest and the highest integer, [2], of a quantizer with one scale."""
    return (_limits(quantizer) - _zeros(quantizer).reshape(())) * quantizer.scale.reshape(())


def is_symmetric(quantizer: Quantizer) -> bool:
    """Tell whether the range reaches as far below 0 as above, up to one step; that of 8-bit floats does."""
    middle = _limits(quantizer).sum()
    return quantizer.dtype.is_floating_point() or bool((np.abs(2 * _zeros(quantizer) - middle) <= 1).all())


def _limits(quantizer: Quantizer) -> Float:
    return np.array([quantizer.dtype.min, quantizer.dtype.max], np.float32)


def _zeros(quantizer: Quantizer) -> Float:
    return np.zeros_like(quantizer.scale) if quantizer.zero_point is None else quantizer.zero_point
