"""What the time of a kernel of ONNX Runtime is counted in; a tap of a pool counts as a MAC."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from .kernel_chains import Shape

MAC, ELEMENT, TAP, PIXEL, CALL = COUNTED = "ps/MAC", "ns/element", "ns/(pixel, tap)", "ns/pixel", "µs/call"

Amounts = Mapping[str, float]
"""How much there is of what a kernel's time is counted in."""


@dataclass(frozen=True)
class Kernel:
    """The name of a price, the op types of ONNX Runtime's optimized graph that it is of, and what it is counted in."""

    name: str
    ops: tuple[str, ...]
    amounts: Callable[[Shape], Amounts]


def dense(name: str, op: str, size: int) -> Kernel:
    """A Conv with all channels in each output."""
    taps = size**2

    def amounts(shape: Shape) -> Amounts:
        borders = {TAP: shape.pixels * taps} if size > 1 else {}
        return {MAC: shape.elements * shape.channels * taps, ELEMENT: shape.elements, CALL: 1} | borders

    return Kernel(name, (op,), amounts)


def depthwise(name: str, op: str, size: int) -> Kernel:
    """A Conv with one channel in each output."""
    taps = size**2
    return Kernel(
        name,
        (op,),
        lambda shape: {MAC: shape.elements * taps, ELEMENT: shape.elements, TAP: shape.pixels * taps, CALL: 1},
    )


def pool(name: str, op: str, size: int) -> Kernel:
    """A pool over windows of a size, which is counted in the same."""
    return depthwise(name, op, size)


def elementwise(name: str, *ops: str, elements: float = 1) -> Kernel:
    """One op or several over so many elements for each of the image."""
    return Kernel(name, ops, lambda shape: {ELEMENT: elements * shape.elements, CALL: 1})


def per_channel(name: str, op: str) -> Kernel:
    """An op with an operand of one element a channel."""
    return Kernel(name, (op,), lambda shape: {ELEMENT: shape.elements, PIXEL: shape.pixels, CALL: 1})
