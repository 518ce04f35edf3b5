"""Lower the plan for an engine, where it has an integer kernel.

    cpu        products of uint8 codes with zero point 128: x / s + 128 is the same real grid as int8 with zero point 0;
               Q/DQ around a Conv, behind it too
    tensorrt   Q/DQ: int8 codes with zero point 0, float bias, nothing on the output of a linear layer

`requant.passes.lowering` has a file for each spelling, `requant.runtime.targets` what each engine takes.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np
import onnx_ir as ir
from onnx_ir.passes.common import RemoveUnusedNodesPass, TopologicalSortPass

from ..ir.constants import array
from ..ir.conv_outputs import SIZES, ConvOutput
from ..ir.formats import Format
from ..ir.linear import Linear, as_linear, enclosed_linears, find_linears
from ..ir.names import forget_names
from ..ir.quantizer import quantizer
from ..ir.transform.edit import add_to_bias
from ..runtime.targets import Target, target
from .lowering.bias_correction import correction
from .lowering.conv_sum import add_codes
from .lowering.integer_convs import integer_convs
from .lowering.ort_workarounds import protect
from .lowering.product import multiply_codes
from .lowering.quantized_values import Lowering, between, coded_value, factors_of, grid_of, once, pair
from .lowering.residual import spell_residuals
from .lowering.weight import countable, dequantized_weight, finest_scales, suited, weight_codes
from .plan_quantizers import DYNAMIC
from .records import LAYERS, LayerRecord
from .select_layers import KEPT


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
        forget_names(model.graph)
        engine = target(self.target)
        layers, rounded = _judged(model.graph, engine)
        chosen = [linear for linear, record in layers if record.quantized]
        lowering = Lowering(model.graph, engine, self.zero_points, between(chosen, rounded, engine))
        for linear in chosen:
            _note_bias(linear, lowering)
        for linear in chosen:
            _lower(linear, lowering)
        if engine.sums:
            layers = [(linear, _with_sum(linear, record, lowering.pairs)) for linear, record in layers]
        protect(model.graph, [_write_codes(conv_output, lowering) for conv_output in rounded])
        model.meta[LAYERS] = (*(record for _, record in layers), *enclosed_layers(model))
        if engine.codes:
            spell_residuals(model.graph)
        RemoveUnusedNodesPass()(model)  # the float weights, which nobody reads any more
        TopologicalSortPass()(model)  # who asked for the size of a Conv's output may stand before its Relu
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


def _judged(graph: ir.Graph, engine: Target) -> tuple[list[tuple[Linear, LayerRecord]], list[ConvOutput]]:
    """Every linear layer with its record, and where the Convs among those in codes write codes themselves."""
    layers = [(linear, planned_format(linear)) for linear in find_linears(graph)]
    reasons = {linear.node: _reason(linear, planned, engine) for linear, planned in layers}
    found = integer_convs(graph, (linear for linear, _ in layers if not reasons[linear.node]), engine)
    reasons |= {node: conv_output for node, conv_output in found.items() if isinstance(conv_output, str)}
    records = [(linear, _record(linear, reasons[linear.node], str(planned))) for linear, planned in layers]
    return records, [conv_output for conv_output in found.values() if isinstance(conv_output, ConvOutput)]


def _reason(linear: Linear, planned: Format | None, engine: Target) -> str:
    """Why ``linear`` stays in float as far as it alone is concerned, or nothing."""
    kept = linear.node.meta.get(KEPT)
    return str(kept or ("it has no planned quantizer" if planned is None else engine.excludes(linear, planned)))


def _record(linear: Linear, reason: str, coded: str = "") -> LayerRecord:
    """The layer in codes as ``coded`` says, or in float for a ``reason``."""
    name, op_type, output = linear.name, linear.node.op_type, linear.output.name or ""
    return LayerRecord(name, op_type, linear.shape, output, not reason, reason, "" if reason else coded)


def _note_bias(linear: Linear, lowering: Lowering) -> None:
    """Keep the scale of the weight from being finer than a kernel that counts the bias in int32 can do with."""
    planned = quantizer(linear.data)
    if linear.node.op_type in lowering.engine.writes_codes and planned is not None:
        scale = array(coded_value(linear.data, planned, lowering).scale)
        assert scale is not None
        known = lowering.finest.get(linear.weight, np.zeros(1))
        lowering.finest[linear.weight] = np.maximum(known, finest_scales(linear, float(scale)))


def _lower(linear: Linear, lowering: Lowering) -> None:
    """Spell one layer."""
    graph, planned, weight = linear.node.graph, quantizer(linear.data), quantizer(linear.weight)
    assert isinstance(graph, ir.Graph)
    assert weight is not None
    engine = lowering.engine
    fitting = countable(suited(linear, weight, engine), lowering.finest.get(linear.weight, np.zeros(1)))
    data_grid = None if planned is None else grid_of(linear.data, planned, lowering)
    lost = correction(linear, data_grid, fitting)
    if lost is not None:
        add_to_bias(linear, lost)
        linear = as_linear(linear.node) or linear  # a bias may be new
    between_codes = engine.codes and linear.node.op_type not in engine.writes_codes
    if between_codes and (planned is not None or DYNAMIC in linear.node.meta):
        data = once(lowering.factors, linear.data, lambda: factors_of(linear, lowering))
        codes = once(lowering.factors, linear.weight, lambda: weight_codes(graph, linear, fitting))
        multiply_codes(graph, linear, data, codes)
        return
    if planned is not None:
        linear.node.replace_input_with(0, pair(linear.data, planned, lowering))
    decoded = once(lowering.pairs, linear.weight, lambda: dequantized_weight(graph, linear, fitting))
    linear.node.replace_input_with(1, decoded)


def _write_codes(conv_output: ConvOutput, lowering: Lowering) -> ir.Value:
    """Let everybody read what is left of a Conv's output once it is codes, and return that."""
    planned = quantizer(conv_output.grid)
    assert planned is not None
    decoded = pair(conv_output.value, planned, lowering)
    others = [use for use in conv_output.value.uses() if use.node.op_type != "QuantizeLinear"]
    sizes = [use for use in conv_output.conv.output.uses() if use.node.op_type in SIZES]
    for use in (*others, *sizes):
        use.node.replace_input_with(use.idx, decoded)
    return decoded


def _with_sum(linear: Linear, record: LayerRecord, dequantized: Mapping[ir.Value, ir.Value]) -> LayerRecord:
    """What to record of a layer once the sum behind it reads the codes of its residual, if it is to."""
    summed = record.quantized and linear.node.op_type == "Conv" and add_codes(linear, dequantized)
    return replace(record, coded=f"{record.coded}, and its residual") if summed else record
