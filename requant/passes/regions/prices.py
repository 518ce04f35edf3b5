"""Prices: nanoseconds that ONNX Runtime's CPU kernels take, in float and on integers, on one core with AVX512-VNNI.

    Conv        multiplications · a + outputs · b + places · taps · c + d
    others      elements · b + d

Only their ratios count. Source: loops of one kernel each; `docs/engines` has the table.
"""

from dataclasses import dataclass
from math import prod

import onnx_ir as ir

from ...calib.activations import activation
from ...ir.kernels import Kernel
from ...ir.linear import Linear

BORDER = 0.27
"""An element that is quantized or dequantized between a region and float nodes, its change of layout with it."""

CALL = 4000.0
"""A node, whatever it does."""


@dataclass(frozen=True)
class Price:
    """The time of a kernel: in float, and as one kernel on integers."""

    in_float: float
    in_integers: float

    def of(self, is_integer: bool) -> float:
        """Return the one or the other."""
        return self.in_integers if is_integer else self.in_float


def price(kernel: Kernel, multiplication_time: float) -> Price:
    """Return the price of ``kernel`` in one feed, where a multiplication in int8 takes ``multiplication_time``."""
    if kernel.kind == "Conv":
        return _conv_price(kernel, multiplication_time)
    per_element, integer_per_element, extra_calls = _PRICES[kernel.kind]
    elements = _elements(kernel)
    return Price(elements * per_element + CALL, elements * integer_per_element + CALL * (1 + extra_calls))


def size(value: ir.Value) -> int:
    """Return the number of elements of ``value`` in one feed."""
    entry = activation(value)
    return 0 if entry is None else entry.elements


_PRICES: dict[str, tuple[float, float, int]] = {
    "Silu": (0.29, 0.45, 1),
    "HardSwish": (0.28, 0.32, 1),
    "HardSigmoid": (0.15, 0.14, 0),
    "Sigmoid": (0.28, 0.235, 0),
    "LeakyRelu": (0.15, 0.235, 0),
    "Mul": (0.145, 0.217, 0),
    "Add": (0.15, 0.14, 0),
    "Concat": (0.12, 0.06, 0),
    "MaxPool": (0.53, 0.3, 0),
    "Resize": (0.3, 0.8, 0),
    "AveragePool": (0.3, 5.0, 0),
    "GlobalAveragePool": (0.19, 0.05, 0),
    "Move": (0.15, 0.06, 0),
}
"""By kind: an element in float, one of integers, and the calls of integer kernels beyond one."""


_PRODUCT = 0.0172
"""A multiplication in float."""


def _conv_price(kernel: Kernel, multiplication_time: float) -> Price:
    conv, outputs = kernel.linear, size(kernel.outputs[0])
    assert conv is not None
    taps, per_group = prod(conv.shape[2:]), conv.shape[1]
    places, products = outputs / conv.outputs, outputs * taps * per_group
    if conv.groups > 1 and per_group == 1:
        narrow = 8.5 / conv.outputs if conv.outputs < 64 else 0.0
        return Price(outputs * 0.27 * taps / 9 + CALL, outputs * (0.42 + narrow) * taps / 9 + CALL)
    gathered, grouped = places * taps * (taps > 1), 2 if conv.groups > 1 else 1
    return Price(
        products * _PRODUCT + outputs * 0.12 * (taps == 1) + gathered * 0.7 + 2 * CALL,
        grouped * products * multiplication_time + outputs * 0.09 + gathered * conv.groups * 1.4 + 3 * CALL,
    )


def _elements(kernel: Kernel) -> int:
    """Return the elements that the time of a kernel goes by: a mean over all places reads more than it writes."""
    return sum(map(size, kernel.inputs if kernel.kind == "GlobalAveragePool" else kernel.outputs))


def product_time(linear: Linear) -> float:
    """Return the time of a MatMul or a Gemm in float, in one feed."""
    return size(linear.data) / linear.inputs * prod(linear.shape[-2:]) * _PRODUCT + CALL
