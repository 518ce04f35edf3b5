"""An integer product, for ONNX Runtime's CPU:

    Y = (q - z) Q · (s · s_w) + b

in ops of the ONNX standard. ONNX Runtime makes one kernel of them, the bias included, whatever the shapes are. Behind
DequantizeLinear the bias would be a node of its own, or a float Gemm.
"""

import numpy as np
import onnx_ir as ir

from ...ir.build import describe
from ...ir.constants import array, constant
from ...ir.linear import Linear


def multiply_integers(
    graph: ir.Graph, linear: Linear, data: tuple[ir.Value, ...], weight: tuple[ir.Value, ...]
) -> None:
    """Replace the product of ``linear`` by one of integers, and scale its result back to float.

    ``data`` are the integers of its input, their scale, which must be computed by a node, and their zero point;
    ``weight`` the integers [K, N] and their scale [N].
    """
    (values, data_scale, zero_point), (weights, weight_scale) = data, weight
    node, name = linear.node, linear.name
    shape, dtype = node.outputs[0].shape, node.outputs[0].dtype
    bias = _bias(graph, linear)
    sums = _computed(
        graph, "MatMulInteger", [values, weights, zero_point], f"{name}.multiply", shape, ir.DataType.INT32
    )
    numbers = _computed(graph, "Cast", [sums], f"{name}.cast", shape, dtype, to=int(ir.DataType.FLOAT))
    factors = [data_scale, _scaled(graph, weight_scale, linear.factor)]
    scale = _computed(graph, "Mul", factors, f"{name}.scale", weight_scale.shape, dtype)
    steps, last = [sums, numbers, scale], (f"{name}.dequantize", "Mul", numbers, scale)
    if node.op_type == "Gemm" and bias is not None:
        steps.append(_computed(graph, "Mul", [numbers, scale], f"{name}.dequantize", shape, dtype))
        last = (f"{name}.bias", "Add", steps[-1], bias)
    graph.insert_before(node, [producer for value in steps if (producer := value.producer()) is not None])
    _become(node, *last)


def _become(node: ir.Node, name: str, op_type: str, *inputs: ir.Value) -> None:
    """Turn ``node`` into another op in place, so that its output keeps its metadata and its consumers."""
    node.name, node.op_type = name, op_type
    node.attributes.clear()
    node.resize_inputs(len(inputs))
    for position, value in enumerate(inputs):
        node.replace_input_with(position, value)


def _bias(graph: ir.Graph, linear: Linear) -> ir.Value | None:
    """Return the bias, as the second operand of its Add: ONNX Runtime looks for it there."""
    if linear.bias is None:
        return None
    node, position = linear.bias
    bias = node.inputs[position]
    assert bias is not None
    if node is linear.node:
        return _scaled(graph, bias, linear.bias_factor)
    if position == 0:
        node.replace_input_with(0, node.inputs[1])
        node.replace_input_with(1, bias)
    return bias


def _scaled(graph: ir.Graph, value: ir.Value, factor: float) -> ir.Value:
    """Return the constant ``value`` times a Gemm's alpha or beta."""
    if factor == 1.0:
        return value
    data = array(value)
    assert data is not None
    return constant(graph, data.astype(np.float32) * np.float32(factor), f"{value.name}.scaled")


def _computed(
    graph: ir.Graph,
    op_type: str,
    inputs: list[ir.Value],
    name: str,
    shape: ir.Shape | None,
    dtype: ir.DataType | None,
    **attributes: int,
) -> ir.Value:
    node = ir.node(op_type, inputs, attributes, name=name)
    return describe(graph, node.outputs[0], f"{name}.out", shape, dtype)
