"""Chains of nodes in float or in Q/DQ form: an image goes through the same few nodes again and again.

A chain begins with a Conv, so that what follows runs in the layout of Convs: NCHWc in float, NHWC in int8.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray

from models.few import Net

Grid = tuple[float, int]
"""Scale and zero point of uint8 values."""

ANY: Grid = (0.05, 128)
GATE: Grid = (1 / 256, 0)


@dataclass(frozen=True)
class Shape:
    """An image of so many channels."""

    channels: int
    side: int

    @property
    def pixels(self) -> int:
        """The number of its pixels."""
        return self.side * self.side

    @property
    def elements(self) -> int:
        """The number of its elements."""
        return self.channels * self.pixels


class Chain(Net):
    """A chain over images of one shape; its values are uint8 where ``quantized``.

    Attributes:
        start: a value of the shape that comes from a Conv.
        share: one from 0 to 1.
        gate: one of an element a channel, from 0 to 1.
    """

    def __init__(self, shape: Shape, *, quantized: bool) -> None:
        super().__init__(seed=0)
        self.shape, self.quantized = shape, quantized
        self.grids: dict[str, Grid] = {}
        self.start = self.convolution(self.write("x"))
        self.share = self.apply("Sigmoid", self.start, grid=GATE)
        self.gate = self.apply("GlobalAveragePool", self.share, grid=GATE)

    def apply(self, op_type: str, *inputs: str, grid: Grid = ANY, **attributes: int | float | str | list[int]) -> str:
        """Append a node, and the Q/DQ around it."""
        return self.write(self.op(op_type, *(self.read(x) for x in inputs), **attributes), grid)

    def read(self, x: str, grid: Grid | None = None) -> str:
        """Return a value in float, its codes read on another grid if one is given."""
        return self.op("DequantizeLinear", x, *self._grid(grid or self.grids[x])) if x in self.grids else x

    def write(self, x: str, grid: Grid = ANY) -> str:
        """Return a float value as the chain passes it on."""
        if not self.quantized:
            return x
        codes = self.op("QuantizeLinear", x, *self._grid(grid))
        self.grids[codes] = grid
        return codes

    def constant(self, code: int, grid: Grid) -> str:
        """Return a scalar, in float or in codes."""
        if not self.quantized:
            return self.weight(np.array((code - grid[1]) * grid[0], np.float32))
        name = self.weight(np.array(code, np.uint8))
        self.grids[name] = grid
        return name

    def convolution(self, x: str, size: int = 1, *, depthwise: bool = False) -> str:
        """Append a Conv, in int8 if the chain is."""
        if not self.quantized:
            return self.float_conv(x, size, depthwise=depthwise)
        shape, scale = self._weights(size, depthwise=depthwise)
        weight = self._integers(self.rng.integers(-127, 128, shape).astype(np.int8), scale)
        bias = self._integers(self.rng.integers(-500, 500, shape[0]).astype(np.int32), scale * ANY[0])
        return self.write(self._conv(self.read(x), weight, bias, size, depthwise=depthwise))

    def float_conv(self, x: str, size: int = 1, *, depthwise: bool = False) -> str:
        """Append a Conv in float."""
        shape, scale = self._weights(size, depthwise=depthwise)
        weight = self.weight(np.float32(73 * scale) * self.rng.standard_normal(shape, np.float32))
        return self._conv(x, weight, self.normal(shape[0], fan_in=100), size, depthwise=depthwise)

    def finished(self, x: str) -> onnx.ModelProto:
        """Return the model, whose output is -x in float."""
        self.op("Neg", self.read(x))
        dims: list[str | int] = [1, self.shape.channels, self.shape.side, self.shape.side]
        return self.model({"x": dims}, dims)

    def _weights(self, size: int, *, depthwise: bool) -> tuple[tuple[int, ...], float]:
        """Return a Conv's shape and the scale of its codes that keeps values about as large as they are."""
        shape = self.shape.channels, 1 if depthwise else self.shape.channels, size, size
        return shape, float(1 / (73 * np.prod(shape[1:]) ** 0.5))  # 73 is the deviation of codes from -127 to 127

    def _conv(self, x: str, weight: str, bias: str, size: int, *, depthwise: bool) -> str:
        group = self.shape.channels if depthwise else 1
        return self.op("Conv", x, weight, bias, kernel_shape=[size] * 2, pads=[size // 2] * 4, group=group)

    def _integers(self, codes: NDArray[np.integer], scale: float) -> str:
        scales = np.full(len(codes), scale, np.float32)
        zeros = np.zeros(len(codes), codes.dtype)
        return self.op("DequantizeLinear", *(self.weight(array) for array in (codes, scales, zeros)), axis=0)

    def _grid(self, grid: Grid) -> tuple[str, str]:
        # 0-d: with shape [1] some kernels are not fused
        return self.weight(np.array(grid[0], np.float32)), self.weight(np.array(grid[1], np.uint8))


Build = Callable[[Chain, str], str]
"""Appends what a chain repeats behind a value, and returns a value of the same shape."""


def repeated(build: Build, shape: Shape, length: int, *, quantized: bool) -> onnx.ModelProto:
    """Return a chain that repeats ``build`` so often."""
    chain = Chain(shape, quantized=quantized)
    x = chain.start
    for _ in range(length):
        x = build(chain, x)
    return chain.finished(x)
