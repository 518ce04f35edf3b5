"""Quantized values and weights of a graph, each made once for all layers that read it."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from ...ir.constants import constant
from ...ir.quantized import stored_nodes
from ...ir.quantizer import Quantizer
from ...runtime.targets import Target
from ..annotations import INTEGER
from ..planned_layer import PlannedLayer
from .activations import QuantizedValue, dequantize, quantize, quantize_dynamically, with_computed_scale

_Item = TypeVar("_Item")


@dataclass(frozen=True)
class LoweringContext:
    """The graph and the engine of a lowering, and the values and weights that are quantized there so far.

    ``one_sided`` are the values that a kernel reads which takes one-sided data alone. By value or weight, ``quantized``
    has its integers, ``operands`` its form in an integer product, ``dequantized`` its form behind a DQ, and
    ``least_scales`` the least scales of a weight for which int32 holds the biases of all its layers.

    An engine matches its kernels in one graph: what a layer in a body reads is quantized in that body.
    """

    graph: ir.Graph
    engine: Target
    zero_points: bool
    one_sided: frozenset[ir.Value]
    least_scales: dict[ir.Value, NDArray[np.float64]] = field(default_factory=dict)
    quantized: dict[ir.Value, QuantizedValue] = field(init=False, default_factory=dict)
    operands: dict[ir.Value, tuple[ir.Value, ...]] = field(init=False, default_factory=dict)
    dequantized: dict[ir.Value, ir.Value] = field(init=False, default_factory=dict)


def one_sided_values(layers: Iterable[PlannedLayer], engine: Target) -> frozenset[ir.Value]:
    """Return the data of the ``layers`` whose kernels take data without negative values alone."""
    return frozenset(layer.linear.data for layer in layers if layer.op_type in engine.one_sided)


def product_operand(layer: PlannedLayer, context: LoweringContext) -> tuple[ir.Value, ...]:
    """Return the data of ``layer`` as an integer product takes it: integers, scale and zero point."""
    value = layer.linear.data
    if layer.data is None or layer.dynamic:
        return quantize_dynamically(context.graph, value)
    return with_computed_scale(context.graph, value, quantized_value(value, layer.data, context))


def dequantized_value(value: ir.Value, plan: Quantizer, context: LoweringContext) -> ir.Value:
    """Return ``value`` behind Q and DQ, those that the file has if there are any."""
    return once(context.dequantized, value, lambda: _dequantized(value, plan, context))


def _dequantized(value: ir.Value, plan: Quantizer, context: LoweringContext) -> ir.Value:
    nodes = _stored(value, context) if value not in context.quantized else []
    if nodes and nodes[-1].op_type == "DequantizeLinear":
        return nodes[-1].outputs[0]
    return dequantize(context.graph, value, quantized_value(value, plan, context))


def quantized_value(value: ir.Value, plan: Quantizer, context: LoweringContext) -> QuantizedValue:
    """Return ``value`` behind Q, the one that the file has if there is one."""
    return once(context.quantized, value, lambda: _quantized(value, plan, context))


def _quantized(value: ir.Value, plan: Quantizer, context: LoweringContext) -> QuantizedValue:
    if nodes := _stored(value, context):
        return _operand(nodes[0], context.graph)
    return quantize(context.graph, value, lowered_quantizer(value, plan, context), context.engine)


def _stored(value: ir.Value, context: LoweringContext) -> list[ir.Node]:
    """Return the quantizers that ``value`` has in the graph of the layer that reads it."""
    nodes = stored_nodes(value)
    return nodes if all(node.graph is context.graph for node in nodes) else []


def _operand(node: ir.Node, graph: ir.Graph) -> QuantizedValue:
    """Return the integers that a Q makes or a DQ reads, with their scale and zero point, which may be left out."""
    source, scale, zero_point = (*node.inputs, None)[:3]
    integers = source if node.op_type == "DequantizeLinear" else node.outputs[0]
    assert integers is not None
    assert scale is not None
    if zero_point is None:
        dtype = integers.dtype or ir.DataType.UINT8  # which is that of a QuantizeLinear without a zero point
        zero_point = constant(graph, np.array(0, dtype.numpy()), f"{integers.name}.zero_point")
    return QuantizedValue(integers, scale, zero_point)


def lowered_quantizer(value: ir.Value, plan: Quantizer, context: LoweringContext) -> Quantizer:
    """Return the quantizer of ``value`` on the engine: that of its integers, or one with a zero point if allowed."""
    engine, integer = context.engine, INTEGER.get(value)
    if engine.integer_outputs and integer is not None:
        return integer
    one_sided = plan.interval is not None and plan.interval[0] >= 0
    asked = engine.asymmetric or (context.zero_points and engine.zero_points)
    takes_zero_point = asked or (one_sided and value in context.one_sided)
    if not takes_zero_point or plan.interval is None or plan.bits < 8:
        return plan
    return plan.with_zero_point(engine.activations[plan.dtype][0])


def once(items: dict[ir.Value, _Item], value: ir.Value, make: Callable[[], _Item]) -> _Item:
    """Return the item of ``value``, which ``make`` makes if there is none yet."""
    if value not in items:
        items[value] = make()
    return items[value]
