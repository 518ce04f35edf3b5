"""Float layers between codes, for ONNX Runtime's CPU:

    DQ → Clip to all numbers → Conv → Q        computes what DQ → Conv → Q says

ONNX Runtime would quantize the weight of the latter by itself, to nearest, though somebody wanted the layer in float.
"""

from collections.abc import Iterable

import numpy as np
import onnx_ir as ir

from ...ir.build import describe
from ...ir.constants import constant
from ...ir.conv_outputs import MOVES
from ...ir.traverse import consumers

_QUANTIZED_BY_ITSELF = ("Conv", "ConvTranspose", "Gemm", "MatMul")
_PASSED = MOVES | {"Pad", "Resize"}
"""What ONNX Runtime moves Q and DQ through."""


def protect(graph: ir.Graph, dequantized: Iterable[ir.Value]) -> None:
    """Put a Clip that changes nothing between the ``dequantized`` values and float layers whose output is quantized."""
    for value in dequantized:
        for layer, position in tuple(consumers(value, _PASSED)):
            multiplies = layer.domain == "" and layer.op_type in _QUANTIZED_BY_ITSELF and layer.graph is graph
            if multiplies and position == 0 and _is_float(layer) and _is_coded(layer):
                layer.replace_input_with(0, _clipped(graph, layer))


def _is_float(layer: ir.Node) -> bool:
    weight = layer.inputs[1].producer() if layer.inputs[1] is not None else None
    return weight is None or weight.op_type != "DequantizeLinear"


def _is_coded(layer: ir.Node) -> bool:
    behind = consumers(layer.outputs[0], _PASSED | {"Add", "Clip", "Relu"})
    return any(node.op_type == "QuantizeLinear" for node, _ in behind)


def _clipped(graph: ir.Graph, layer: ir.Node) -> ir.Value:
    value, limits = layer.inputs[0], np.finfo(np.float32)
    assert value is not None
    name = f"{value.name}.for.{layer.outputs[0].name}"
    bounds = [constant(graph, np.asarray(end, np.float32), f"{name}.bound") for end in (limits.min, limits.max)]
    clip = ir.node("Clip", [value, *bounds], name=name)
    graph.insert_before(layer, clip)
    return describe(graph, clip.outputs[0], f"{name}.out", value.shape, value.dtype)
