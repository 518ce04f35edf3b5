"""A quantizer: the map between real values and quantized values.

    x ≈ s · (q - z)        q = clip(round(x / s) + z)        in fp8, q is the e4m3 number nearest to x / s

One s for an activation, one for each output channel of a weight (of each matrix of a batch), or one for each block of
a weight's rows.
"""

from dataclasses import dataclass, replace

import ml_dtypes
import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

QUANTIZER = "requant.quantizer"
"""Key of a value's quantizer in `Value.meta`."""

E4M3_LARGEST = 448.0
"""The largest float8e4m3fn number."""


@dataclass(frozen=True)
class Quantizer:
    """A quantizer to ``dtype``, integers of ``bits`` bits.

    ``scale`` is a scalar, has an entry for each index of ``axis``, or, with a ``block`` size, the shape of the value
    with ⌈K / block⌉ entries along ``axis``; for a batch of matrices it is [B, 1, N]. ``zero_point`` has the shape of
    ``scale``, and is None where it is 0.
    ``interval`` is the calibrated range of an activation. ``codes`` are the quantized values of a constant, in its
    shape, or None where each is rounded to nearest.
    """

    scale: NDArray[np.float32]
    axis: int | None = None
    dtype: ir.DataType = ir.DataType.INT8
    bits: int = 8
    block: int = 0
    zero_point: NDArray[np.float32] | None = None
    interval: tuple[float, float] | None = None
    codes: NDArray[np.generic] | None = None

    def nearest(self, steps: NDArray[np.float32]) -> NDArray[np.float32]:
        """Round ``steps`` = x / s + z to the nearest quantized values, as numbers.

        Weights in int8 leave out -128, so that they are as symmetric as their range.
        """
        if self.dtype == ir.DataType.FLOAT8E4M3FN:
            return e4m3(steps)
        low, high = code_range(self.dtype, self.bits)
        lowest = low + 1 if self.axis is not None and self.dtype == ir.DataType.INT8 else low
        return np.clip(np.round(steps), lowest, high)

    def spread(self, parameter: NDArray[np.float32], shape: tuple[int, ...]) -> NDArray[np.float32]:
        """Reshape ``parameter``, the scale or the zero point, so that it broadcasts to a value of ``shape``."""
        if self.axis is None or (parameter.ndim > 1 and not self.block):
            return parameter
        if self.block:
            return np.repeat(parameter, self.block, self.axis).take(np.arange(shape[self.axis]), self.axis)
        return parameter.reshape([-1 if axis == self.axis % len(shape) else 1 for axis in range(len(shape))])

    def encode(self, data: NDArray[np.generic]) -> NDArray[np.float32]:
        """Quantize ``data``; returns the quantized values as numbers."""
        values = data.astype(np.float32, copy=False)
        steps = values / self.spread(self.scale, values.shape)
        if self.zero_point is not None:
            steps += self.spread(self.zero_point, values.shape)
        return self.nearest(steps)

    def decode(self, codes: NDArray[np.generic]) -> NDArray[np.float64]:
        """Dequantize ``codes``."""
        steps = codes.astype(np.float64)
        if self.zero_point is not None:
            steps -= self.spread(self.zero_point, codes.shape)
        return steps * self.spread(self.scale, codes.shape)

    def with_zero_point(self, dtype: ir.DataType) -> "Quantizer":
        """Make the asymmetric quantizer to ``dtype`` of the smallest scale that covers the interval."""
        assert self.interval is not None
        lowest, highest = float(dtype.min), float(dtype.max)
        low, high = min(self.interval[0], 0.0), max(self.interval[1], 0.0)
        scale = np.asarray(max((high - low) / (highest - lowest), float(np.finfo(np.float32).tiny)), np.float32)
        zero = np.clip(np.round(lowest - low / scale), lowest, highest).astype(np.float32)
        return replace(self, scale=scale, dtype=dtype, zero_point=zero)


def quantizer(value: ir.Value | None) -> Quantizer | None:
    """Return the quantizer planned for ``value``, or None."""
    entry = value.meta.get(QUANTIZER) if value is not None else None
    return entry if isinstance(entry, Quantizer) else None


def code_range(dtype: ir.DataType, bits: int) -> tuple[int, int]:
    """Return the smallest and the largest integer."""
    return (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if dtype.is_signed() else (0, 2**bits - 1)


def largest_code(dtype: ir.DataType, bits: int) -> float:
    """Return the largest quantized value of ``dtype``."""
    return E4M3_LARGEST if dtype.is_floating_point() else float(code_range(dtype, bits)[1])


def e4m3(steps: NDArray[np.float32]) -> NDArray[np.float32]:
    """Round ``steps`` to the nearest float8e4m3fn numbers; those out of range saturate."""
    floats = np.clip(steps, -E4M3_LARGEST, E4M3_LARGEST).astype(ml_dtypes.float8_e4m3fn)
    numbers: NDArray[np.float32] = floats.astype(np.float32)
    return numbers
