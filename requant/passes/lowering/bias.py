"""The bias on ONNX Runtime's CPU.

A float bias of shape [N] after a MatMul makes a float Gemm of the product, which is slower than the float model. The
bias is written so that this fusion does not apply: as [1, …, N] where the product has three axes or more, else as
int32 codes with the scale of the product.
"""

import numpy as np
import onnx_ir as ir

from ...ir.constants import array, constant
from ...ir.linear import Linear
from .describe import describe


def write_bias(graph: ir.Graph, linear: Linear, data_scale: ir.Value, weight_scale: ir.Value) -> None:
    """Rewrite the bias so that the integer kernel is chosen; the scales are those of the product's operands."""
    assert linear.bias is not None
    node, position = linear.bias
    bias, first, second = (array(value) for value in (node.inputs[position], data_scale, weight_scale))
    assert bias is not None
    assert first is not None
    assert second is not None
    scale = first.astype(np.float32) * second.astype(np.float32)
    flat = np.broadcast_to(bias.reshape(-1), scale.shape)
    rank = len(linear.output.shape) if linear.output.shape is not None else 0
    name = f"{linear.output.name}.bias"
    if linear.node.op_type == "MatMul" and rank > 2:
        node.replace_input_with(position, constant(graph, flat.reshape((1,) * (rank - 1) + (-1,)), name))
        return
    codes = np.clip(np.round(flat.astype(np.float64) / scale), -(2.0**31), 2.0**31 - 1).astype(np.int32)
    inputs = [constant(graph, codes, f"{name}.codes"), constant(graph, scale, f"{name}.scale")]
    dequantize = ir.node("DequantizeLinear", inputs, {"axis": 0}, name=f"{name}.dequantize")
    describe(dequantize.outputs[0], f"{name}.dequantized", ir.Shape(scale.shape), ir.DataType.FLOAT)
    graph.insert_before(node, dequantize)
    node.replace_input_with(position, dequantize.outputs[0])
