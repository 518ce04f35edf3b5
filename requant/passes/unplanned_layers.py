"""Linear layers without a plan: those of no view, for some of which an engine has an op, and those quantized before."""

import onnx_ir as ir

from ..ir.formats import INT8_DYNAMIC
from ..ir.order import label
from ..ir.quantized import find_quantized_layers
from ..ir.recurrent import Recurrent, as_recurrent
from ..ir.shapes.contrib import CONTRIB
from ..ir.transform.edit import graph_of
from ..ir.unsupported import UnsupportedLayer, find_unsupported
from ..runtime.targets import Target
from .annotations import DYNAMIC, KEPT
from .lowering.recurrent import multiply_integers_in
from .records import AS_IN_FILE, LayerRecord


def unplanned_layers(model: ir.Model) -> dict[ir.Node, LayerRecord]:
    """Return the records of the layers of which `requant.ir.linear` has no view, or that the file has quantized."""
    return {layer.node: _record(layer) for layer in find_unsupported(model.graph)} | _quantized_layers(model)


def lower_unplanned(model: ir.Model, engine: Target) -> dict[ir.Node, LayerRecord]:
    """Lower the planned LSTMs where ``engine`` has an integer one, and return the records of all such layers."""
    records = _quantized_layers(model)  # before LSTMs are lowered, which then look like those of a file
    for layer in list(find_unsupported(model.graph)):
        recurrent = as_recurrent(layer.node)
        is_kept = KEPT.get(layer.node) is not None
        is_planned = DYNAMIC.get(layer.node) is not None and not is_kept and layer.node.op_type in engine.recurrent
        if is_planned and isinstance(recurrent, Recurrent):
            name, op_type, output = layer.name, layer.node.op_type, layer.output
            multiply_integers_in(graph_of(layer.node), recurrent, engine.weight_bits)
            model.graph.opset_imports[CONTRIB] = 1
            fmt = str(INT8_DYNAMIC)
            records[layer.node] = LayerRecord(name, op_type, layer.shape, output, quantized=True, format=fmt)
        else:
            records.setdefault(layer.node, _record(layer))
    return records


def _quantized_layers(model: ir.Model) -> dict[ir.Node, LayerRecord]:
    """Return the records of the layers that the file has quantized."""
    return {
        layer.node: LayerRecord(
            label(layer.node),
            layer.node.op_type,
            layer.shape,
            layer.node.outputs[0].name or "",
            quantized=True,
            format=AS_IN_FILE,
        )
        for layer in find_quantized_layers(model)
    }


def _record(layer: UnsupportedLayer) -> LayerRecord:
    """Return the record of a layer that stays in float."""
    refusal = KEPT.get(layer.node)
    reason = layer.reason if refusal is None else refusal.reason
    return LayerRecord(layer.name, layer.node.op_type, layer.shape, layer.output, quantized=False, reason=reason)
