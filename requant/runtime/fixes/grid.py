"""The numbers that codes stand for: x = (q - z) · s and q = round(x / s) + z, cut off at the ends of the type."""

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from ...ir.constants import array

Float = NDArray[np.float32]


@dataclass(frozen=True)
class Grid:
    """Scale and zero point of a Q or DQ, [], [C] along ``axis``, or a ``block`` of entries each; its type of codes."""

    scale: Float
    zero_point: Float
    axis: int
    block: int
    codes: ir.DataType

    @property
    def ends(self) -> Float:
        """The numbers that the lowest and the highest code stand for, [2], where there is one scale."""
        codes = np.array([self.codes.min, self.codes.max], np.float32)
        return (codes - self.zero_point.reshape(())) * self.scale.reshape(())

    @property
    def symmetric(self) -> bool:
        """Whether it reaches as far below 0 as above, up to one code; 8-bit floats do."""
        middle = np.float32(self.codes.min) + np.float32(self.codes.max)
        return self.codes.is_floating_point() or bool((np.abs(2 * self.zero_point - middle) <= 1).all())

    def dequantized(self, codes: NDArray[np.generic]) -> Float:
        """What the DQ gives, in float32."""
        steps = codes.astype(np.float32) - self._spread(self.zero_point, codes)
        numbers: Float = steps * self._spread(self.scale, codes)
        return numbers

    def quantized(self, numbers: NDArray[np.generic]) -> Float:
        """What the Q gives, in float32."""
        steps = np.rint(numbers.astype(np.float32) / self._spread(self.scale, numbers))
        codes: Float = steps + self._spread(self.zero_point, numbers)
        return np.clip(codes, np.float32(self.codes.min), np.float32(self.codes.max))

    def _spread(self, parameter: Float, over: NDArray[np.generic]) -> Float:
        if self.block:
            return np.take(np.repeat(parameter, self.block, self.axis), range(over.shape[self.axis]), self.axis)
        if parameter.size == 1:
            return parameter.reshape(())
        return parameter.reshape([-1 if place == self.axis % over.ndim else 1 for place in range(over.ndim)])


def grid(node: ir.Node) -> Grid | None:
    """The grid of a Q or DQ; None when its scale or zero point is computed at run time."""
    scale, given = array(node.inputs[1]), node.inputs[2] if len(node.inputs) > 2 else None
    zero_point = array(given)
    if scale is None or (given is not None and zero_point is None):
        return None
    zeros = np.zeros(scale.shape) if zero_point is None else zero_point
    coded = node.outputs[0] if node.op_type == "QuantizeLinear" else node.inputs[0]
    codes = coded.dtype if coded is not None and coded.dtype is not None else ir.DataType.UINT8
    axis, block = node.attributes.get_int("axis", 1), node.attributes.get_int("block_size", 0)
    return Grid(scale.astype(np.float32), zeros.astype(np.float32), axis, block, codes)
