"""Lower the plan for an engine, where it has an integer kernel.

    cpu        products of uint8 codes with zero point 128: x / s + 128 is the same real grid as int8 with zero point 0
    tensorrt   Q/DQ: int8 codes with zero point 0, float bias, nothing on the output of a linear layer

`requant.passes.lowering` has a file for each spelling, `requant.runtime.targets` what each engine takes.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np
import onnx_ir as ir
from onnx_ir.passes.common import RemoveUnusedNodesPass

from ..ir.linear import Linear, as_linear, enclosed_linears, find_linears
from ..ir.rewrite.edit import add_to_bias
from ..runtime.formats import Format
from ..runtime.targets import Target, target
from .choose_layers import KEPT
from .lowering.conv_sum import add_codes
from .lowering.data import data_codes, dequantized_data
from .lowering.dynamic import quantized_at_run_time
from .lowering.product import multiply_codes
from .lowering.residual import spell_residuals
from .lowering.weight import dequantized_weight, suited, weight_codes
from .plan_quantizers import DYNAMIC
from .quantizer import quantizer
from .records import LAYERS, LayerRecord
from .round_weights import BIAS

_Coded: TypeAlias = dict[ir.Value, tuple[ir.Value, ...]]
"""Of a value: what its readers are to read, then its parameters."""


@dataclass(frozen=True)
class InsertQDQ(ir.passes.InPlacePass):
    """Spell every planned linear layer that ``target`` runs in integers the way it wants.

    Needs a plan (`PlanQuantizers`). Layers left in float are recorded with the reason.

    Attributes:
        target: the engine, a key of `requant.runtime.TARGETS`.
        zero_points: let one-sided data have a zero point of their own, and so a finer grid, where the engine takes any.
            Two engines' artifacts then no longer have the same codes.
    """

    target: str = "tensorrt"
    zero_points: bool = False

    def requires(self, model: ir.Model) -> None:
        """Raise PreconditionError when the model has no plan."""
        linears = list(find_linears(model.graph))
        if linears and not any(quantizer(linear.weight) or KEPT in linear.node.meta for linear in linears):
            raise ir.passes.PreconditionError("no plan: run requant.passes.PlanQuantizers first")

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        engine = target(self.target)
        layers = [_judge(linear, engine) for linear in find_linears(model.graph)]
        coded: _Coded = {}
        for linear, record in layers:
            if record.quantized:
                _lower(linear, engine, coded, self.zero_points)
        if engine.sums:
            dequantized = {value: found[0] for value, found in coded.items()}
            layers = [(linear, _with_sum(linear, record, dequantized)) for linear, record in layers]
        model.meta[LAYERS] = (*(record for _, record in layers), *enclosed_layers(model))
        if engine.codes:
            spell_residuals(model.graph)
        RemoveUnusedNodesPass()(model)  # the float weights, which nobody reads any more
        return ir.passes.PassResult(model, any(record.quantized for _, record in layers))


def enclosed_layers(model: ir.Model) -> Iterator[LayerRecord]:
    """The layers that stay in float because no pass looks at where they are."""
    for linear in enclosed_linears(model.graph):
        yield _record(linear, "it is in the body of an If or a Loop")


def planned_format(linear: Linear) -> Format | None:
    """What the plan has the data and the weight of ``linear`` coded in, or None."""
    weight, data = quantizer(linear.weight), quantizer(linear.data)
    if weight is None:
        return None
    dynamic = DYNAMIC in linear.node.meta
    coded = ir.DataType.INT8 if dynamic else data.dtype if data is not None else None
    return Format(coded, weight.dtype, weight.bits, weight.block, dynamic)


def _judge(linear: Linear, engine: Target) -> tuple[Linear, LayerRecord]:
    planned, kept = planned_format(linear), linear.node.meta.get(KEPT)
    reason = kept or ("it has no planned quantizer" if planned is None else engine.excludes(linear, planned))
    return linear, _record(linear, str(reason), str(planned))


def _record(linear: Linear, reason: str, coded: str = "") -> LayerRecord:
    """The layer in codes as ``coded`` says, or in float for a ``reason``."""
    name, op_type, output = linear.name, linear.node.op_type, linear.output.name or ""
    return LayerRecord(name, op_type, linear.shape, output, not reason, reason, "" if reason else coded)


def _lower(linear: Linear, engine: Target, coded: _Coded, zero_points: bool) -> None:
    """Spell one layer; values that several layers read are coded once, and kept in ``coded``."""
    graph, correction, weight = linear.node.graph, linear.node.meta.get(BIAS), quantizer(linear.weight)
    assert isinstance(graph, ir.Graph)
    assert weight is not None
    if isinstance(correction, np.ndarray):
        add_to_bias(linear, correction)
        linear = as_linear(linear.node) or linear  # a bias may be new
    planned = quantizer(linear.data)
    if engine.codes and (planned is not None or DYNAMIC in linear.node.meta):
        data = _once(coded, linear.data, lambda: _data_codes(graph, linear, engine, zero_points))
        codes = _once(coded, linear.weight, lambda: weight_codes(graph, linear, suited(linear, weight, engine)))
        multiply_codes(graph, linear, data, codes)
        return
    dequantized = _once(coded, linear.weight, lambda: dequantized_weight(graph, linear, suited(linear, weight, engine)))
    if planned is not None:
        data = _once(coded, linear.data, lambda: dequantized_data(graph, linear.data, planned, engine, zero_points))
        linear.node.replace_input_with(0, data[0])
    linear.node.replace_input_with(1, dequantized[0])


def _data_codes(graph: ir.Graph, linear: Linear, engine: Target, zero_points: bool) -> tuple[ir.Value, ...]:
    planned = quantizer(linear.data)
    if planned is None or DYNAMIC in linear.node.meta:
        return quantized_at_run_time(graph, linear.data)
    return data_codes(graph, linear.data, planned, engine, zero_points)


def _with_sum(linear: Linear, record: LayerRecord, dequantized: Mapping[ir.Value, ir.Value]) -> LayerRecord:
    """What to record of a layer once the sum behind it reads the codes of its residual, if it is to."""
    summed = record.quantized and linear.node.op_type == "Conv" and add_codes(linear, dequantized)
    return replace(record, coded=f"{record.coded}, and its residual") if summed else record


def _once(coded: _Coded, value: ir.Value, code: Callable[[], tuple[ir.Value, ...]]) -> tuple[ir.Value, ...]:
    if value not in coded:
        coded[value] = code()
    return coded[value]
