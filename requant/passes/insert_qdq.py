"""Lower the plan for an engine, where it has an integer kernel.

    cpu        products of uint8 with zero point 128: x / s + 128 has the same real values as int8 with zero point 0;
               Q/DQ around a Conv, behind it too
    tensorrt   Q/DQ: int8 with zero point 0, float bias, nothing on the output of a linear layer

`requant.passes.lowering` has a file for each form, `requant.runtime.targets` the traits of each engine.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np
import onnx_ir as ir
from onnx_ir.passes.common import RemoveUnusedNodesPass, TopologicalSortPass

from ..ir.constants import array
from ..ir.conv_outputs import ConvOutput
from ..ir.formats import Format
from ..ir.linear import Linear, as_linear, enclosed_linears, find_linears
from ..ir.names import forget_names
from ..ir.ops import SIZES
from ..ir.quantizer import quantizer
from ..ir.transform.edit import add_to_bias
from ..runtime.targets import Target, target
from .annotations import DYNAMIC, KEPT, LAYERS, is_kept
from .lowering.bias_correction import bias_correction
from .lowering.conv_sum import quantize_residual
from .lowering.integer_convs import integer_convs
from .lowering.ort_workarounds import keep_in_float, prevent_skip_layer_norms
from .lowering.product import multiply_integers
from .lowering.quantized_values import (
    LoweringContext,
    dequantized_value,
    integer_values,
    lowered_quantizer,
    once,
    product_operand,
    quantized_value,
)
from .lowering.weight import bias_limit, dequantized_weight, fit_bits, integer_weight, limit_scales
from .records import LayerRecord


@dataclass(frozen=True)
class InsertQDQ(ir.passes.InPlacePass):
    """Lower every planned linear layer that ``target`` runs in integers.

    Needs a plan (`PlanQuantizers`). Layers left in float are recorded with the reason. Reads statistics and the
    annotations `QUANTIZER`, `DYNAMIC`, `KEPT` and `ROW_WEIGHTS`; writes `LAYERS`.

    Attributes:
        target: the engine, a key of `requant.runtime.TARGETS`.
        zero_points: quantize one-sided data asymmetrically, with a zero point and a finer step, where the engine takes
            any. Two engines' artifacts then no longer have the same quantized values.
    """

    target: str = "tensorrt"
    zero_points: bool = False

    def requires(self, model: ir.Model) -> None:
        """Raise PreconditionError when the model has no plan."""
        linears = list(find_linears(model.graph))
        if linears and not any(quantizer(linear.weight) or is_kept(linear) for linear in linears):
            raise ir.passes.PreconditionError("no plan: run requant.passes.PlanQuantizers first")

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        forget_names(model.graph)
        engine = target(self.target)
        layers, outputs = _decide(model.graph, engine)
        quantized = [linear for linear, record in layers if record.quantized]
        context = LoweringContext(model.graph, engine, self.zero_points, integer_values(quantized, outputs, engine))
        for linear in quantized:
            _note_bias_limit(linear, context)
        for linear in quantized:
            _lower(linear, context)
        if engine.sums:
            layers = [(linear, _with_residual(linear, record, context.dequantized)) for linear, record in layers]
        keep_in_float(model.graph, [_quantize_output(conv_output, context) for conv_output in outputs])
        LAYERS.set(model, (*(record for _, record in layers), *enclosed_layers(model)))
        if engine.codes:
            prevent_skip_layer_norms(model.graph)
        RemoveUnusedNodesPass()(model)  # the float weights, which have no consumers any more
        TopologicalSortPass()(model)  # a Shape of a Conv's output may stand before its Relu
        return ir.passes.PassResult(model, any(record.quantized for _, record in layers))


def enclosed_layers(model: ir.Model) -> Iterator[LayerRecord]:
    """Yield a record of each layer in a subgraph, where no pass quantizes it."""
    for linear in enclosed_linears(model.graph):
        yield _record(linear, "it is in the body of an If or a Loop")


def planned_format(linear: Linear) -> Format | None:
    """Return the planned format of the data and the weight of ``linear``, or None."""
    weight, data = quantizer(linear.weight), quantizer(linear.data)
    if weight is None:
        return None
    dynamic = DYNAMIC.get(linear.node) is not None
    activations = ir.DataType.INT8 if dynamic else data.dtype if data is not None else None
    return Format(activations, weight.dtype, weight.bits, weight.block, dynamic)


def _decide(graph: ir.Graph, engine: Target) -> tuple[list[tuple[Linear, LayerRecord]], list[ConvOutput]]:
    """Return every linear layer with its record, and the int8 outputs of the quantized Convs."""
    layers = [(linear, planned_format(linear)) for linear in find_linears(graph)]
    reasons = {linear.node: _reason(linear, planned, engine) for linear, planned in layers}
    decisions = integer_convs(graph, (linear for linear, _ in layers if not reasons[linear.node]), engine)
    reasons |= {node: decision for node, decision in decisions.items() if isinstance(decision, str)}
    records = [(linear, _record(linear, reasons[linear.node], str(planned))) for linear, planned in layers]
    return records, [decision for decision in decisions.values() if isinstance(decision, ConvOutput)]


def _reason(linear: Linear, planned: Format | None, engine: Target) -> str | None:
    """Return the reason why ``linear`` stays in float whatever is around it, or None."""
    if reason := KEPT.get(linear.node):
        return reason
    return "it has no planned quantizer" if planned is None else engine.excludes(linear, planned) or None


def _record(linear: Linear, reason: str | None, fmt: str = "") -> LayerRecord:
    """Return the record of a layer that is quantized in the format ``fmt``, or in float for a ``reason``."""
    name, op_type, output = linear.name, linear.node.op_type, linear.output.name or ""
    return LayerRecord(name, op_type, linear.shape, output, not reason, reason or "", "" if reason else fmt)


def _note_bias_limit(linear: Linear, context: LoweringContext) -> None:
    """Keep the scales of the weight so large that a kernel that adds the bias in int32 does not saturate."""
    planned = quantizer(linear.data)
    if linear.node.op_type in context.engine.writes_codes and planned is not None:
        scale = array(quantized_value(linear.data, planned, context).scale)
        assert scale is not None
        least = context.least_scales.get(linear.weight, np.zeros(1))
        context.least_scales[linear.weight] = np.maximum(least, bias_limit(linear, float(scale)))


def _lower(linear: Linear, context: LoweringContext) -> None:
    """Lower one layer: quantize its operands, correct its bias, and replace its product where the engine wants it."""
    graph, planned, planned_weight = linear.node.graph, quantizer(linear.data), quantizer(linear.weight)
    assert isinstance(graph, ir.Graph)
    assert planned_weight is not None
    engine = context.engine
    least = context.least_scales.get(linear.weight, np.zeros(1))
    weight = limit_scales(fit_bits(linear, planned_weight, engine), least)
    data = None if planned is None else lowered_quantizer(linear.data, planned, context)
    correction = bias_correction(linear, data, weight)
    if correction is not None:
        add_to_bias(linear, correction)
        linear = as_linear(linear.node) or linear  # a bias may be new
    is_integer_product = engine.codes and linear.node.op_type not in engine.writes_codes
    if is_integer_product and (planned is not None or DYNAMIC.get(linear.node)):
        operand = once(context.operands, linear.data, lambda: product_operand(linear, context))
        integers = once(context.operands, linear.weight, lambda: integer_weight(graph, linear, weight))
        multiply_integers(graph, linear, operand, integers)
        return
    if planned is not None:
        linear.node.replace_input_with(0, dequantized_value(linear.data, planned, context))
    dequantized = once(context.dequantized, linear.weight, lambda: dequantized_weight(graph, linear, weight))
    linear.node.replace_input_with(1, dequantized)


def _quantize_output(conv_output: ConvOutput, context: LoweringContext) -> ir.Value:
    """Quantize the output of a Conv for all its consumers, and return it behind the DQ."""
    planned = quantizer(conv_output.grid)
    assert planned is not None
    dequantized = dequantized_value(conv_output.value, planned, context)
    float_uses = [use for use in conv_output.value.uses() if use.node.op_type != "QuantizeLinear"]
    size_uses = [use for use in conv_output.conv.output.uses() if use.node.op_type in SIZES]
    for use in (*float_uses, *size_uses):
        use.node.replace_input_with(use.idx, dequantized)
    return dequantized


def _with_residual(linear: Linear, record: LayerRecord, dequantized: Mapping[ir.Value, ir.Value]) -> LayerRecord:
    """Return the record of a layer after the sum behind it reads a quantized residual, if there is one."""
    is_sum = record.quantized and linear.node.op_type == "Conv" and quantize_residual(linear, dequantized)
    return replace(record, format=f"{record.format}, and its residual") if is_sum else record
