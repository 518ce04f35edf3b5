"""Prices of the kernels of a graph: what they take in one feed, in float and on integers, by a processor's table."""

from dataclasses import dataclass
from math import prod

import onnx_ir as ir

from ...calib.activations import activation
from ...ir.kernels import Kernel
from ...ir.linear import Linear
from ...ir.scaled_hard_swish import as_scaled_hard_swish
from ...runtime.prices import ALIGNED, CONV, DEPTHWISE, POINTWISE, PRODUCT, UNALIGNED, Amounts, Prices

_WIDE = 64
"""The channels from which on an integer depthwise Conv gathers its data for nothing."""


@dataclass(frozen=True)
class Price:
    """The nanoseconds of a kernel: in float, and on integers."""

    in_float: float
    in_integers: float

    def of(self, is_integer: bool) -> float:
        """Return the one or the other."""
        return self.in_integers if is_integer else self.in_float


def price(kernel: Kernel, prices: Prices) -> Price:
    """Return the price of ``kernel`` in one feed."""
    rates, on_integers = prices.kernels[name(kernel)], amounts(kernel, on_integers=True)
    in_integers = rates.in_integers.time(on_integers)
    if as_scaled_hard_swish(kernel.nodes[0]) is not None:  # by a product in place of a sum
        product, total = (prices.kernels[op].in_integers.time(on_integers) for op in ("Mul", "Add"))
        in_integers += product - total
    return Price(rates.in_float.time(amounts(kernel, on_integers=False)), in_integers)


def size(value: ir.Value) -> int:
    """Return the number of elements of ``value`` in one feed."""
    entry = activation(value)
    return 0 if entry is None else entry.elements


def name(kernel: Kernel) -> str:
    """Return the name of the kernel in `requant.runtime.prices`."""
    conv = kernel.linear
    if conv is None:
        return kernel.kind
    if conv.groups > 1 and conv.shape[1] == 1:
        return DEPTHWISE
    if conv.groups == 1 and conv.outputs % ALIGNED:
        return UNALIGNED
    return POINTWISE if prod(conv.shape[2:]) == 1 else CONV


def amounts(kernel: Kernel, *, on_integers: bool) -> Amounts:
    """Return what the time of ``kernel`` goes by in one feed; on integers each group of a Conv gathers data of its own.

    A mean over all places reads more than it writes.
    """
    conv, kind = kernel.linear, name(kernel)
    if conv is None:
        elements = sum(map(size, kernel.inputs if kind == "GlobalAveragePool" else kernel.outputs))
        window = prod(kernel.nodes[0].attributes.get_ints("kernel_shape", ()))
        return Amounts(elements * window * (kind in ("MaxPool", "AveragePool")), elements)
    outputs, taps = size(kernel.outputs[0]), prod(conv.shape[2:])
    places, multiplications = outputs / conv.outputs, outputs * taps * conv.shape[1]
    if kind == DEPTHWISE:
        return Amounts(multiplications, outputs, places * taps * (conv.outputs < _WIDE))
    gathers, grouped = (conv.groups, 1 + (conv.groups > 1)) if on_integers else (1, 1)
    return Amounts(grouped * multiplications, outputs, places * taps * gathers * (kind != POINTWISE))


def product_time(linear: Linear, prices: Prices) -> float:
    """Return the time of a layer that is no Conv in float, in one feed."""
    matrix = linear.shape[-2:] if linear.batched else linear.shape
    return prices.kernels[PRODUCT].in_float.time(Amounts(size(linear.data) / linear.inputs * prod(matrix)))
