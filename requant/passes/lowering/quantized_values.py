"""Values and weights in codes, each once, however many layers read it and whatever they read of it."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from ...ir.conv_outputs import ConvOutput
from ...ir.linear import Linear
from ...ir.quantizer import Quantizer, quantizer
from ...runtime.targets import Target
from ..plan_quantizers import DYNAMIC
from .activations import Codes, dequantized, factors, quantized
from .dynamic import quantized_at_run_time

_Made = TypeVar("_Made")


@dataclass(frozen=True)
class Lowering:
    """Where and for whom, and the values and weights that are coded so far, each once however many layers read it.

    ``between`` are the values that go in codes from one kernel to the next. ``codes`` has the codes of a value,
    ``factors`` what a product of codes reads of a value or a weight, ``pairs`` what is behind a DQ, and ``finest`` the
    finest scales of a weight with which the biases of all its layers can be counted.
    """

    graph: ir.Graph
    engine: Target
    zero_points: bool
    between: frozenset[ir.Value]
    codes: dict[ir.Value, Codes] = field(default_factory=dict)
    factors: dict[ir.Value, tuple[ir.Value, ...]] = field(default_factory=dict)
    pairs: dict[ir.Value, ir.Value] = field(default_factory=dict)
    finest: dict[ir.Value, NDArray[np.float64]] = field(default_factory=dict)


def between(layers: Iterable[Linear], rounded: Iterable[ConvOutput], engine: Target) -> frozenset[ir.Value]:
    """What kernels that write codes read, and what they write."""
    read = [linear.data for linear in layers if linear.node.op_type in engine.writes_codes]
    return frozenset([*read, *(value for conv_output in rounded for value in (conv_output.value, conv_output.grid))])


def factors_of(linear: Linear, lowering: Lowering) -> tuple[ir.Value, ...]:
    """What a product of codes reads of the data of ``linear``, whose scale is planned or found at run time."""
    planned = quantizer(linear.data)
    if planned is None or DYNAMIC in linear.node.meta:
        return quantized_at_run_time(lowering.graph, linear.data)
    return factors(lowering.graph, linear.data, coded_value(linear.data, planned, lowering))


def pair(value: ir.Value, planned: Quantizer, lowering: Lowering) -> ir.Value:
    """``value`` behind Q/DQ."""
    return once(
        lowering.pairs, value, lambda: dequantized(lowering.graph, value, coded_value(value, planned, lowering))
    )


def coded_value(value: ir.Value, planned: Quantizer, lowering: Lowering) -> Codes:
    """``value`` behind Q."""
    grid = grid_of(value, planned, lowering)
    return once(lowering.codes, value, lambda: quantized(lowering.graph, value, grid, lowering.engine))


def grid_of(value: ir.Value, planned: Quantizer, lowering: Lowering) -> Quantizer:
    """What the codes of ``value`` stand for: finer numbers than planned where they may have a zero point of their own.

    A Relu is part of the kernel that writes the codes if the lowest of them stands for 0.
    """
    engine, one_sided = lowering.engine, planned.interval is not None and planned.interval[0] >= 0
    free = lowering.zero_points or (one_sided and value in lowering.between)
    if not free or not engine.zero_points or planned.interval is None or planned.bits < 8:
        return planned
    return planned.with_zero_point(engine.activations[planned.dtype][0])


def once(coded: dict[ir.Value, _Made], value: ir.Value, code: Callable[[], _Made]) -> _Made:
    """What ``coded`` has for ``value``, made by ``code`` if it has nothing yet."""
    if value not in coded:
        coded[value] = code()
    return coded[value]
