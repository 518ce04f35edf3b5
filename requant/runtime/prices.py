"""Prices: nanoseconds that the kernels of an engine take on one core, in float and on integers.

time = multiplications · a + elements · b + taps · c + d
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

CONV, POINTWISE, UNALIGNED, DEPTHWISE = "Conv", "Conv 1x1", "Conv, unaligned", "depthwise Conv"
"""Convs; one of other sizes than 1 × 1, or whose outputs are no multiple of `ALIGNED`, gathers its data first."""

ALIGNED = 16
"""The channels that an integer kernel which reads its data in place writes at a time."""

PRODUCT, DYNAMIC_PRODUCT = "MatMul", "MatMul, dynamic"
"""Products of matrices, on integers with what quantizes their data, by a calibrated scale or one of run time."""

BORDER = "border"
"""A Q or a DQ between integer kernels and float nodes, with its change of layout."""

LAYERS = (CONV, POINTWISE, UNALIGNED, DEPTHWISE, PRODUCT, DYNAMIC_PRODUCT)
KERNELS = (
    *LAYERS,
    *("Silu", "HardSwish", "HardSigmoid", "Sigmoid", "LeakyRelu", "Mul", "Add", "Concat", "MaxPool", "Resize"),
    *("AveragePool", "GlobalAveragePool", "Move"),
)
"""The names of all kernels that have a price: those with weights, and the kinds of `requant.ir.kernels`."""

LEAST_REGION_GAIN = 1.1
"""The gain below which a region of kernels, or a product alone, is not worth its rounding."""


class Amounts(NamedTuple):
    """What the time of a kernel goes by.

    Attributes:
        multiplications: those of a Conv or a product; of a pool, the elements times the taps of its window.
        elements: those of the output; of a mean over all places those of the input, of a product both.
        taps: those of a Conv that gathers its data, at all of its places.
    """

    multiplications: float = 0.0
    elements: float = 0.0
    taps: float = 0.0


@dataclass(frozen=True)
class Rate:
    """Nanoseconds of a multiplication, of an element, of a place and tap that is gathered, and of a call."""

    multiplication: float = 0.0
    element: float = 0.0
    tap: float = 0.0
    call: float = 0.0

    def time(self, amounts: Amounts) -> float:
        """Return the nanoseconds of one call."""
        products, elements, taps = amounts
        return products * self.multiplication + elements * self.element + taps * self.tap + self.call


@dataclass(frozen=True)
class Rates:
    """The rates of a kernel in float and on integers."""

    in_float: Rate
    in_integers: Rate


@dataclass(frozen=True)
class Prices:
    """The prices of a processor.

    Only their ratios count.

    Attributes:
        source: the processor, and how they were measured.
        kernels: by the names in `KERNELS`.
        border: a QuantizeLinear or DequantizeLinear between integer kernels and float nodes, with its change of layout.
    """

    source: str
    kernels: Mapping[str, Rates]
    border: Rate

    def product_gain(self, inputs: int, outputs: int, *, dynamic: bool = False) -> float:
        """Return how many times as fast as in float a product of ``inputs`` to ``outputs`` channels is, row by row."""
        rates, row = self.kernels[DYNAMIC_PRODUCT if dynamic else PRODUCT], Amounts(inputs * outputs, inputs + outputs)
        in_float, in_integers = (replace(rate, call=0.0).time(row) for rate in (rates.in_float, rates.in_integers))
        return in_float / in_integers
