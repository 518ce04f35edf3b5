"""Lower the plan for an engine, where it has an integer kernel.

    cpu        products of uint8 with zero point 128: x / s + 128 has the same real values as int8 with zero point 0;
               Q/DQ around a Conv, behind it too
    tensorrt   Q/DQ: int8 with zero point 0, float bias, nothing on the output of a linear layer

`requant.passes.lowering` has a file for each form, `requant.runtime.targets` the traits of each engine.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import onnx_ir as ir
from onnx_ir.passes.common import TopologicalSortPass

from ..ir.build import follow
from ..ir.constants import array, constant
from ..ir.kernels import Kernel
from ..ir.linear import Linear, as_linear, find_linears
from ..ir.names import forget_names, separate_nodes
from ..ir.transform.edit import add_to_bias, graph_of
from ..ir.traverse import graphs_within, nodes_within
from ..ir.unused import remove_unused
from ..runtime.targets import Target, target
from .annotations import INTEGER, LAYERS, is_kept
from .integer_regions import integer_regions
from .layer_records import enclosed_layers, layer_record
from .layer_refusal import layer_refusal
from .lowering.bias_correction import bias_correction
from .lowering.common_scale import share_scales
from .lowering.conv_sum import quantize_residual
from .lowering.float_hard_swishes import fold_into_quantizers, join_float_hard_swishes
from .lowering.integer_kernels import quantize_kernels
from .lowering.integer_product import multiply_integers
from .lowering.openvino_workarounds import bias_shared_outputs
from .lowering.ort_workarounds import keep_in_float, prevent_skip_layer_norms
from .lowering.quantize_attention import quantize_attentions
from .lowering.quantized_values import (
    LoweringContext,
    dequantized_value,
    lowered_quantizer,
    once,
    one_sided_values,
    product_operand,
    quantized_value,
)
from .lowering.weight import bias_limit, common_scale, dequantized_weight, fit_bits, integer_weight, limit_scales
from .planned_layer import PlannedLayer, planned_layer
from .records import LayerRecord
from .unplanned_layers import lower_unplanned


@dataclass(frozen=True)
class InsertQDQ(ir.passes.InPlacePass):
    """A pass that lowers every planned linear layer that ``target`` runs in integers.

    Needs a plan (`PlanQuantizers`). Layers left in float are recorded with the reason. Reads statistics and the
    annotations `QUANTIZER`, `INTEGER`, `FLOAT`, `DYNAMIC`, `KEPT`, `ATTENTION` and `ROW_WEIGHTS`; writes `LAYERS`.

    Attributes:
        target: the engine, a key of `requant.runtime.TARGETS` or a row like those.
        zero_points: quantize data asymmetrically, with a zero point and a finer step, where the engine takes any, also
            if it does not have them unasked. Two engines' artifacts then no longer have the same quantized values.
        body: the type that float layers will compute in, by `ConvertPrecision`.
    """

    target: str | Target = "tensorrt"
    zero_points: bool = False
    body: ir.DataType = ir.DataType.FLOAT

    def requires(self, model: ir.Model) -> None:
        """Raise PreconditionError when the model has no plan."""
        linears = list(find_linears(model.graph))
        if linears and not any(planned_layer(linear) or is_kept(linear) for linear in linears):
            raise ir.passes.PreconditionError("no plan: run requant.passes.PlanQuantizers first")

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        forget_names(model.graph)
        engine = target(self.target)
        unplanned = lower_unplanned(model, engine)
        records, layers, kernels = _decide(model.graph, engine)
        context = LoweringContext(model.graph, engine, self.zero_points, one_sided_values(layers, engine))
        products = join_float_hard_swishes(model.graph, _nodes_on_integers(layers, kernels))
        contexts = {graph: replace(context, graph=graph) for graph in graphs_within(model.graph)}
        for layer in layers:
            _note_bias_limit(layer, contexts[layer.graph])
        for layer in layers:
            _lower(layer, contexts[layer.graph])
        quantize_attentions(model.graph, contexts)
        if engine.shared_bias:
            bias_shared_outputs(layer.linear for layer in layers)
        if engine.integer_residuals:
            records = {
                linear: _with_residual(linear, record, contexts[graph_of(linear.node)])
                for linear, record in records.items()
            }
        keep_in_float(quantize_kernels(kernels, contexts))
        if engine.integer_outputs:
            fold_into_quantizers(products)
        if engine.common_scale and self.body != ir.DataType.FLOAT:
            kept = share_scales(layers, self.body)
            records |= {linear: replace(records[linear], note=refusal.reason) for linear, refusal in kept.items()}
        all_records = {linear.node: record for linear, record in records.items()} | unplanned
        places = {node: place for place, node in enumerate(nodes_within(model.graph))}
        in_order = sorted(all_records, key=lambda node: places.get(node, len(places)))
        LAYERS.set(model, (*(all_records[node] for node in in_order), *enclosed_layers(model)))
        if engine.integer_products:
            prevent_skip_layer_norms(contexts)
        separate_nodes(model)  # the file may have quantizers that are called as these
        remove_unused(model)  # the float weights, which have no consumers any more
        TopologicalSortPass()(model)  # a Shape of a Conv's output may stand before its Relu
        return ir.passes.PassResult(model, bool(layers) or any(record.planned for record in unplanned.values()))


def _decide(graph: ir.Graph, engine: Target) -> tuple[dict[Linear, LayerRecord], list[PlannedLayer], Sequence[Kernel]]:
    """Return a record of every linear layer, the layers to quantize, and the kernels that run on integers."""
    plans = {linear: planned_layer(linear) for linear in find_linears(graph)}
    refusals = {linear.node: layer_refusal(linear, plan, engine) for linear, plan in plans.items()}
    kernels: Sequence[Kernel] = ()
    if engine.integer_outputs:
        regions = integer_regions(graph, [linear for linear in plans if not refusals[linear.node]], engine)
        refusals |= regions.refusals
        kernels = regions.kernels
        for value, plan in regions.quantizers.items():
            INTEGER.set(value, plan)
    records = {linear: layer_record(linear, refusals[linear.node], plan) for linear, plan in plans.items()}
    layers = [plan for linear, plan in plans.items() if plan is not None and records[linear].quantized]
    return records, layers, kernels


def _nodes_on_integers(layers: Sequence[PlannedLayer], kernels: Sequence[Kernel]) -> set[ir.Node]:
    return {*(layer.linear.node for layer in layers), *(node for kernel in kernels for node in kernel.nodes)}


def _note_bias_limit(layer: PlannedLayer, context: LoweringContext) -> None:
    """Keep the scales of the weight so large that a kernel that adds the bias in int32 does not saturate."""
    if layer.op_type in context.engine.integer_outputs and layer.data is not None:
        linear = layer.linear
        scale = array(quantized_value(linear.data, layer.data, context).scale)
        assert scale is not None
        least = context.least_scales.get(linear.weight, np.zeros(1))
        context.least_scales[linear.weight] = np.maximum(least, bias_limit(linear, float(scale)))


def _lower(layer: PlannedLayer, context: LoweringContext) -> None:
    """Lower one layer: quantize its operands, correct its bias, and replace its product where the engine wants it."""
    graph, engine, linear = context.graph, context.engine, layer.linear
    least = context.least_scales.get(linear.weight, np.zeros(1))
    weight = limit_scales(fit_bits(linear, layer.weight, engine), least)
    data = None if layer.data is None else lowered_quantizer(linear.data, layer.data, context)
    correction = bias_correction(layer, data, weight)
    if correction is not None:
        add_to_bias(linear, correction)
        linear = as_linear(linear.node) or linear  # a bias may be new
    if engine.integer_products and layer.op_type not in engine.integer_outputs and layer.quantizes_data:
        operand = once(context.operands, linear.data, lambda: product_operand(layer, context))
        integers = once(context.operands, linear.weight, lambda: integer_weight(graph, linear, weight))
        multiply_integers(graph, linear, operand, integers)
        return
    if layer.data is not None:
        linear.node.replace_input_with(0, dequantized_value(linear.data, layer.data, context))
    dequantized = once(context.dequantized, linear.weight, lambda: dequantized_weight(graph, linear, weight))
    linear.node.replace_input_with(1, dequantized)
    if linear.batched:
        factor = constant(graph, weight.scale / common_scale(weight), f"{linear.weight.name}.factor")
        follow(graph, linear.node, "Mul", factor)


def _with_residual(linear: Linear, record: LayerRecord, context: LoweringContext) -> LayerRecord:
    """Return the record of a layer after the sum behind it reads a quantized residual, if there is one."""
    loudest = context.engine.loudest_residual
    is_conv = record.quantized and linear.node.op_type == "Conv"
    is_sum = is_conv and quantize_residual(linear, context.dequantized, loudest)
    return replace(record, format=f"{record.format}, and its residual") if is_sum else record
