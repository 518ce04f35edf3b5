"""Units: what a chain repeats, as ONNX text from ``x{i}`` to ``x{n}``, and the kernels that it is to price.

``s`` is a value between 0 and 1 that stays the same. Weights are called by their letter and the repetition:
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from ..runtime.prices import BORDER, CONV, DEPTHWISE, DYNAMIC_PRODUCT, POINTWISE, PRODUCT, UNALIGNED

WEIGHTS: Mapping[str, Callable[[int], tuple[int, ...]]] = {
    "w": lambda channels: (channels, channels, 1, 1),
    "f": lambda channels: (channels, channels, 1, 1),  # stays in float
    "k": lambda channels: (channels, channels, 3, 3),
    "d": lambda channels: (channels, 1, 3, 3),
    "m": lambda channels: (channels, channels),
}
"""By its letter, the shape of a weight."""

FLOAT = "f"
"""The letter of the weights of layers that stay in float."""


@dataclass(frozen=True)
class Shape:
    """An image [1, C, side, side]; for products, C channels of side² rows."""

    channels: int
    side: int


@dataclass(frozen=True)
class Unit:
    """A unit that prices the kernels ``names``, which share a rate, at some ``shapes``; others in it have a price."""

    names: tuple[str, ...]
    body: str
    shapes: tuple[Shape, ...]
    modes: tuple[bool, ...] = (False, True)


_CONVS = (Shape(16, 80), Shape(32, 40), Shape(64, 40), Shape(64, 10), Shape(128, 20), Shape(256, 10))
_UNALIGNED = (Shape(12, 64), Shape(20, 48), Shape(24, 48), Shape(40, 32), Shape(24, 10))
_IMAGES = (Shape(64, 40), Shape(32, 80), Shape(64, 10))
_ROWS = (Shape(16, 64), Shape(32, 48), Shape(64, 32), Shape(256, 16), Shape(64, 8))

UNITS = (
    Unit((POINTWISE,), "x{n} = Conv(x{i}, w{i}, b)", _CONVS),
    Unit((CONV,), "x{n} = Conv<pads = [1, 1, 1, 1]>(x{i}, k{i}, b)", _CONVS),
    Unit((UNALIGNED,), "c{n} = Conv<pads = [1, 1, 1, 1]>(x{i}, k{i}, b) x{n} = Conv(c{n}, w{i}, b)", _UNALIGNED),
    Unit((DEPTHWISE,), "x{n} = Conv<pads = [1, 1, 1, 1], group = {channels}>(x{i}, d{i}, b)", _CONVS),
    Unit((PRODUCT,), "p{n} = MatMul(x{i}, m{i}) x{n} = Add(p{n}, b)", _ROWS),
    Unit((DYNAMIC_PRODUCT,), "p{n} = MatMul(x{i}, m{i}) x{n} = Add(p{n}, b)", _ROWS, (True,)),
    Unit(("Silu",), "g{n} = Sigmoid(x{i}) x{n} = Mul(x{i}, g{n})", _IMAGES),
    Unit(("HardSwish",), "x{n} = HardSwish(x{i})", _IMAGES),
    Unit(("HardSigmoid",), "x{n} = HardSigmoid(x{i})", _IMAGES),
    Unit(("Sigmoid",), "x{n} = Sigmoid(x{i})", _IMAGES),
    Unit(("LeakyRelu",), "x{n} = LeakyRelu(x{i})", _IMAGES),
    Unit(("Mul",), "x{n} = Mul(x{i}, s)", _IMAGES),
    Unit(("Add",), "x{n} = Add(x{i}, s)", _IMAGES),
    Unit(("Concat", "Move"), "c{n} = Concat<axis = 1>(x{i}, s) x{n} = Slice(c{n}, first, last, channel_axis)", _IMAGES),
    Unit(("MaxPool",), "x{n} = MaxPool<kernel_shape = [5, 5], pads = [2, 2, 2, 2]>(x{i})", _IMAGES),
    Unit(("AveragePool",), "x{n} = AveragePool<kernel_shape = [3, 3], pads = [1, 1, 1, 1]>(x{i})", _IMAGES),
    Unit(("GlobalAveragePool",), "c{n} = GlobalAveragePool(x{i}) x{n} = Mul(s, c{n})", _IMAGES),
    Unit(
        ("Resize",),
        'c{n} = Conv(x{i}, w{i}, b) r{n} = Resize<mode = "nearest", coordinate_transformation_mode = "asymmetric", '
        'nearest_mode = "floor">(c{n}, , twice) x{n} = MaxPool<kernel_shape = [2, 2], strides = [2, 2]>(r{n})',
        _IMAGES,
    ),
    Unit((BORDER,), "c{n} = Conv(x{i}, w{i}, b) x{n} = Conv(c{n}, f{i}, b)", _CONVS, (True,)),
)
"""In an order in which each finds the prices of the other kernels in it."""
