"""The gain of int8 for Convs whose kernel writes int8: an estimate of time, chain by chain.

    gain = Σ float / (Σ integer + borders)        over the Convs of a chain, which hand each other int8

Between a chain and the float nodes around it, data are quantized and dequantized, and change their layout; networks of
few channels lose more there than their products gain. Nanoseconds on one core with AVX512-VNNI, of ONNX Runtime's
kernels; only their ratios count.
"""

from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir

from ...calib.collect import statistics
from ...ir.conv_outputs import ConvOutput, activated
from ...ir.linear import Linear
from ...ir.ops import ADDITIVE, CLIPPING, COMMUTING, FRAMING, JOINING, is_op
from ...ir.traverse import consumers, reachable

LEAST_GAIN = 1.15
"""The gain below which a chain is not worth its rounding."""

_FLOAT, _INTEGER = 0.012, 0.0034
"""A multiplication of a Conv in float, and in int8."""

_GROUPED = 2.0
"""The factor by which that is more in int8 where channels come in groups."""

_WRITE, _BORDER = 0.07, 0.3
"""An element that an integer Conv writes; one that is quantized or dequantized, its change of layout with it."""

_TAP, _FEW = 1.4, 32
"""Gathering the data of an integer Conv, for each place and tap, of fewer input channels than that."""

_DEPTHWISE, _INTEGER_DEPTHWISE, _NARROW = 0.028, 0.047, 0.94
"""A tap of a depthwise Conv in float, in int8, and what the latter pays over the channels, as long as they are few."""

_BETWEEN = {"Add": 0.15, "MaxPool": 0.25}
"""An element of these in int8, beyond float, where a sum is one kernel with the Conv before it."""

_CARRIERS = COMMUTING | CLIPPING | FRAMING | (ADDITIVE - {"Sub"})
"""Ops that an engine runs in int8 between Convs."""


@dataclass
class ConvChain:
    """A chain of Convs that hand each other int8, with the estimated times of all of them in float and in int8."""

    convs: list[Linear] = field(default_factory=list)
    float_time: float = 0.0
    integer_time: float = 0.0

    @property
    def gain(self) -> float:
        """The speed of int8 over that of float."""
        return self.float_time / max(self.integer_time, np.finfo(np.float64).tiny)


def conv_chains(conv_outputs: Mapping[ir.Node, ConvOutput]) -> list[ConvChain]:
    """Return the chains of the Convs that write int8 as ``conv_outputs`` say."""
    producers = {conv_output.value: conv_output.conv for conv_output in conv_outputs.values()}
    groups = {conv_output.conv.node: [conv_output.conv.node] for conv_output in conv_outputs.values()}
    borders = dict.fromkeys(groups, 0.0)
    charged, border_values = set[ir.Node](), set[ir.Value]()
    for conv_output in conv_outputs.values():
        conv = conv_output.conv
        sources, carriers = _origin(conv.data, producers)
        for node in carriers - charged:
            borders[conv.node] += _BETWEEN.get(node.op_type, 0.0) * _elements(conv)
        charged |= carriers
        for source in sources:
            if (before := producers.get(source)) is not None:
                _join(groups, conv.node, before.node)
            elif source not in border_values:
                border_values.add(source)
                borders[conv.node] += _BORDER * _elements(conv)
        if _has_float_consumer(conv_output.value, conv_outputs):
            borders[conv.node] += _BORDER * _places(conv) * conv.outputs
    chains: dict[int, ConvChain] = {}
    for conv_output in conv_outputs.values():
        chain = chains.setdefault(id(groups[conv_output.conv.node]), ConvChain())
        chain.convs.append(conv_output.conv)
        chain.float_time += float_time(conv_output.conv)
        chain.integer_time += integer_time(conv_output.conv) + borders[conv_output.conv.node]
    return list(chains.values())


def float_time(conv: Linear) -> float:
    """Return the time of a Conv in float over the calibration data."""
    taps, outputs = _taps(conv), _places(conv) * conv.outputs
    if _is_depthwise(conv):
        return outputs * taps * _DEPTHWISE
    return outputs * taps * conv.shape[1] * _FLOAT


def integer_time(conv: Linear) -> float:
    """Return the time of a Conv in int8, its rounding included."""
    taps, places = _taps(conv), _places(conv)
    outputs = places * conv.outputs
    if _is_depthwise(conv):
        return outputs * taps * (_INTEGER_DEPTHWISE + _NARROW / max(conv.outputs, 8))
    gather = _TAP * taps * conv.groups if taps > 1 and conv.shape[1] < _FEW else 0.0
    product = taps * conv.shape[1] * _INTEGER * (_GROUPED if conv.groups > 1 else 1.0)
    return outputs * (product + _WRITE) + places * gather


def _origin(value: ir.Value, integer_values: Container[ir.Value]) -> tuple[set[ir.Value], set[ir.Node]]:
    """Return the sources of ``value``, among ``integer_values`` or float, and the nodes between that carry int8."""

    def carrier(source: ir.Value) -> ir.Node | None:
        node = source.producer()
        return None if source in integer_values or node is None or not is_op(node, _CARRIERS) else node

    def operands(source: ir.Value) -> Iterator[ir.Value]:
        node = carrier(source)
        if node is not None:
            count = len(node.inputs) if node.op_type in JOINING | {"Add"} else 1
            yield from filter(None, node.inputs[:count])

    origin = {source: carrier(source) for source in reachable([value], operands)}
    carriers = {node for node in origin.values() if node is not None}
    return {source for source, node in origin.items() if node is None}, carriers


def _has_float_consumer(value: ir.Value, conv_outputs: Mapping[ir.Node, ConvOutput]) -> bool:
    """Tell whether anything reads ``value`` in float."""
    nodes = (node for node, _ in consumers(value, through=lambda node: is_op(node, _CARRIERS)))
    return any(node not in conv_outputs for node in nodes)


def _join(groups: dict[ir.Node, list[ir.Node]], first: ir.Node, second: ir.Node) -> None:
    """Merge the groups of both nodes."""
    group, other = groups[first], groups[second]
    if group is not other:
        group += other
        groups.update(dict.fromkeys(other, group))


def _elements(conv: Linear) -> float:
    """Return the number of elements that it reads."""
    stats = statistics(conv.data)
    return (stats.count if stats is not None else 1) * conv.inputs


def _places(conv: Linear) -> float:
    """Return the number of places of its output, over all calibration data."""
    output, data = statistics(activated(conv)), statistics(conv.data)
    if output is not None:
        return output.count
    return (data.count if data is not None else 1) / float(np.prod(conv.node.attributes.get_ints("strides", (1,))))


def _taps(conv: Linear) -> int:
    return int(np.prod(conv.shape[2:]))


def _is_depthwise(conv: Linear) -> bool:
    return conv.groups > 1 and conv.shape[1] == 1
