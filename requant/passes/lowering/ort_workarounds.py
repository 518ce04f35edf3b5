"""Workarounds for optimizations of ONNX Runtime's CPU provider that change numbers, or make the model slower.

    DQ → Clip to all numbers → Conv → Q        computes what DQ → Conv → Q says

ONNX Runtime would quantize the weight of the latter by itself, to nearest, although the layer is to stay in float.

    LayerNormalization(a + b) = LayerNormalization(Sum(a, b))

ONNX Runtime makes a SkipLayerNormalization of an Add that only a LayerNormalization reads. On the CPU that kernel takes
four to five times as long as the two it replaces. It does not do so with a Sum.
"""

from collections.abc import Iterable

import numpy as np
import onnx_ir as ir

from ...ir.build import describe
from ...ir.constants import constant
from ...ir.ops import CLIPPING, COMMUTING, FRAMING, LINEAR, RESAMPLING, is_op
from ...ir.transform.edit import graph_of
from ...ir.traverse import consumers

_PROPAGATING = COMMUTING | FRAMING | (RESAMPLING - {"Upsample"})
"""Ops that ONNX Runtime moves Q and DQ through."""


def keep_in_float(dequantized: Iterable[ir.Value]) -> None:
    """Put a Clip that changes nothing between the ``dequantized`` values and float layers whose output is quantized."""
    for value in dequantized:
        for layer, position in tuple(consumers(value, _PROPAGATING)):
            multiplies = is_op(layer, LINEAR) and layer.graph is value.graph
            if multiplies and position == 0 and _is_float(layer) and _has_quantized_output(layer):
                layer.replace_input_with(0, _clipped(graph_of(layer), layer))


def prevent_skip_layer_norms(graphs: Iterable[ir.Graph]) -> None:
    """Replace every Add that only a LayerNormalization reads by a Sum."""
    for node in [node for graph in graphs for node in graph]:
        if node.op_type == "Add" and node.domain == "" and _feeds_norm_alone(node):
            result, total = node.outputs[0], ir.node("Sum", node.inputs, name=node.name)
            name, output = result.name, total.outputs[0]
            output.shape, output.type = result.shape, result.type
            graph = graph_of(node)
            graph.insert_before(node, total)
            ir.convenience.replace_all_uses_with(result, output)
            result.name, output.name = None, name
            graph.remove(node, safe=True)


def _is_float(layer: ir.Node) -> bool:
    weight = layer.inputs[1].producer() if layer.inputs[1] is not None else None
    return weight is None or weight.op_type != "DequantizeLinear"


def _has_quantized_output(layer: ir.Node) -> bool:
    uses = consumers(layer.outputs[0], _PROPAGATING | CLIPPING | {"Add"})
    return any(node.op_type == "QuantizeLinear" for node, _ in uses)


def _clipped(graph: ir.Graph, layer: ir.Node) -> ir.Value:
    value, limits = layer.inputs[0], np.finfo(np.float32)
    assert value is not None
    name = f"{value.name}.for.{layer.outputs[0].name}"
    bounds = [constant(graph, np.asarray(end, np.float32), f"{name}.bound") for end in (limits.min, limits.max)]
    clip = ir.node("Clip", [value, *bounds], name=name)
    graph.insert_before(layer, clip)
    return describe(graph, clip.outputs[0], f"{name}.out", value.shape, value.dtype)


def _feeds_norm_alone(node: ir.Node) -> bool:
    result = node.outputs[0]
    consumer_types = [use.node.op_type for use in result.uses()]
    return consumer_types == ["LayerNormalization"] and not result.is_graph_output()
