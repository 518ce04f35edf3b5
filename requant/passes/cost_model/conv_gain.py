"""What int8 is worth for Convs whose kernel writes int8: an estimate of time, region by region.

    gain = Σ float / (Σ integer + borders)        over the Convs of a region, which hand each other int8

Between a region and what is float around it, data are quantized and dequantized, and change their layout; networks of
few channels lose more there than their products gain. Nanoseconds on one core with AVX512-VNNI, of ONNX Runtime's
kernels; only their ratios count.
"""

from collections.abc import Container, Mapping
from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir

from ...calib.collect import statistics
from ...ir.conv_outputs import MOVES, ConvOutput, activated
from ...ir.linear import Linear

LEAST = 1.15
"""The gain below which a region is not worth its rounding."""

_FLOAT, _INTEGER = 0.012, 0.0034
"""A multiplication of a Conv in float, and in int8."""

_GROUPED = 2.0
"""How many times as much it is in int8 where channels come in groups."""

_WRITE, _BORDER = 0.07, 0.3
"""An element that an integer Conv writes; one that is quantized or dequantized, its change of layout with it."""

_TAP, _FEW = 1.4, 32
"""What gathering costs an integer Conv for each place and tap, of fewer input channels than that."""

_DEPTHWISE, _INTEGER_DEPTHWISE, _NARROW = 0.028, 0.047, 0.94
"""A tap of a depthwise Conv in float, in int8, and what the latter pays over the channels, as long as they are few."""

_BETWEEN = {"Add": 0.15, "MaxPool": 0.25}
"""What an element of these takes in int8 beyond float, where a sum is one kernel with the Conv before it."""

_CARRIERS = MOVES | {"Add", "Clip", "Pad", "Relu"}
"""Ops that an engine runs in int8 between Convs."""


@dataclass
class Region:
    """Convs that hand each other int8, with the estimated times of all of them in float and in int8."""

    convs: list[Linear] = field(default_factory=list)
    float_time: float = 0.0
    integer_time: float = 0.0

    @property
    def gain(self) -> float:
        """How many times as fast int8 is."""
        return self.float_time / max(self.integer_time, np.finfo(np.float64).tiny)


def regions(conv_outputs: Mapping[ir.Node, ConvOutput]) -> list[Region]:
    """The regions of the Convs that write int8 as ``conv_outputs`` say."""
    written = {conv_output.value: conv_output.conv for conv_output in conv_outputs.values()}
    groups = {conv_output.conv.node: [conv_output.conv.node] for conv_output in conv_outputs.values()}
    borders = dict.fromkeys(groups, 0.0)
    charged, quantized = set[ir.Node](), set[ir.Value]()
    for conv_output in conv_outputs.values():
        conv = conv_output.conv
        sources, carriers = _origin(conv.data, written)
        for node in carriers - charged:
            borders[conv.node] += _BETWEEN.get(node.op_type, 0.0) * _elements(conv)
        charged |= carriers
        for source in sources:
            if (before := written.get(source)) is not None:
                _join(groups, conv.node, before.node)
            elif source not in quantized:
                quantized.add(source)
                borders[conv.node] += _BORDER * _elements(conv)
        if _leaves(conv_output.value, conv_outputs):
            borders[conv.node] += _BORDER * _places(conv) * conv.outputs
    found: dict[int, Region] = {}
    for conv_output in conv_outputs.values():
        region = found.setdefault(id(groups[conv_output.conv.node]), Region())
        region.convs.append(conv_output.conv)
        region.float_time += float_time(conv_output.conv)
        region.integer_time += integer_time(conv_output.conv) + borders[conv_output.conv.node]
    return list(found.values())


def float_time(conv: Linear) -> float:
    """What a Conv takes in float over the calibration data."""
    taps, outputs = _taps(conv), _places(conv) * conv.outputs
    if _is_depthwise(conv):
        return outputs * taps * _DEPTHWISE
    return outputs * taps * conv.shape[1] * _FLOAT


def integer_time(conv: Linear) -> float:
    """What it takes in int8, its rounding included."""
    taps, places = _taps(conv), _places(conv)
    outputs = places * conv.outputs
    if _is_depthwise(conv):
        return outputs * taps * (_INTEGER_DEPTHWISE + _NARROW / max(conv.outputs, 8))
    gather = _TAP * taps * conv.groups if taps > 1 and conv.shape[1] < _FEW else 0.0
    product = taps * conv.shape[1] * _INTEGER * (_GROUPED if conv.groups > 1 else 1.0)
    return outputs * (product + _WRITE) + places * gather


def _origin(value: ir.Value, written: Container[ir.Value]) -> tuple[set[ir.Value], set[ir.Node]]:
    """The values, those ``written`` in int8 among them, that ``value`` is made of by nodes that int8 goes through."""
    waiting, met, sources, carriers = [value], {value}, set[ir.Value](), set[ir.Node]()
    while waiting:
        made = waiting.pop()
        node = made.producer()
        if made in written or node is None or node.domain or node.op_type not in _CARRIERS:
            sources.add(made)
            continue
        carriers.add(node)
        operands = node.inputs if node.op_type in ("Add", "Concat") else node.inputs[:1]
        fresh = [operand for operand in operands if operand is not None and operand not in met]
        met.update(fresh)
        waiting += fresh
    return sources, carriers


def _leaves(value: ir.Value, conv_outputs: Mapping[ir.Node, ConvOutput]) -> bool:
    """Whether anything reads ``value`` in float."""
    waiting, met = [value], {value}
    while waiting:
        for node in (use.node for use in waiting.pop().uses()):
            if node.domain or node.op_type not in _CARRIERS:
                if node not in conv_outputs:
                    return True
                continue
            fresh = [output for output in node.outputs if output not in met]
            met.update(fresh)
            waiting += fresh
    return False


def _join(groups: dict[ir.Node, list[ir.Node]], one: ir.Node, other: ir.Node) -> None:
    """Put both nodes into one group."""
    into, rest = groups[one], groups[other]
    if into is not rest:
        into += rest
        groups.update(dict.fromkeys(rest, into))


def _elements(conv: Linear) -> float:
    """Elements that it reads."""
    seen = statistics(conv.data)
    return (seen.count if seen is not None else 1) * conv.inputs


def _places(conv: Linear) -> float:
    """Places of its output, over all calibration data."""
    written, read = statistics(activated(conv)), statistics(conv.data)
    if written is not None:
        return written.count
    return (read.count if read is not None else 1) / float(np.prod(conv.node.attributes.get_ints("strides", (1,))))


def _taps(conv: Linear) -> int:
    return int(np.prod(conv.shape[2:]))


def _is_depthwise(conv: Linear) -> bool:
    return conv.groups > 1 and conv.shape[1] == 1
