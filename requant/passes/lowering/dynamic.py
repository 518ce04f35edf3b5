"""Data whose scale is computed at run time:

    q, s, z = DynamicQuantizeLinear(x)        Y = (q - z) Q · (s · s_w) + b

in ops of the ONNX standard. ONNX Runtime makes one DynamicQuantizeMatMul of them, the bias included.
"""

import onnx_ir as ir

from ...ir.linear import Linear
from .describe import describe


def multiply_codes(graph: ir.Graph, linear: Linear, data: tuple[ir.Value, ...], weight: tuple[ir.Value, ...]) -> None:
    """Replace the product of ``linear`` by one of codes.

    ``data`` is what `quantized_at_run_time` gave for its input, ``weight`` the codes [K, N] and their scale [N].
    """
    (values, data_scale, zero_point), (codes, weight_scale) = data, weight
    product, name = linear.node.outputs[0], linear.name
    shape, dtype = product.shape, product.dtype
    sums = _computed("MatMulInteger", [values, codes, zero_point], f"{name}.multiply", shape, ir.DataType.INT32)
    numbers = _computed("Cast", [sums], f"{name}.cast", shape, dtype, to=int(ir.DataType.FLOAT))
    scale = _computed("Mul", [data_scale, weight_scale], f"{name}.scale", weight_scale.shape, dtype)
    results = [_computed("Mul", [numbers, scale], f"{name}.dequantize", shape, dtype)]
    if linear.node.op_type == "Gemm" and (bias := linear.node.inputs[2:]):
        results.append(_computed("Add", [results[0], *bias], f"{name}.bias", shape, dtype))
    nodes = [value.producer() for value in (sums, numbers, scale, *results)]
    result = results[-1]
    graph.insert_before(linear.node, [node for node in nodes if node is not None])
    ir.convenience.replace_all_uses_with(product, result, replace_graph_outputs=True)
    result.name, product.name = product.name, None
    graph.remove(linear.node, safe=True)


def quantized_at_run_time(graph: ir.Graph, value: ir.Value) -> tuple[ir.Value, ...]:
    """The codes of ``value``, their scale and their zero point."""
    node = ir.node("DynamicQuantizeLinear", [value], num_outputs=3, name=f"{value.name}.quantize")
    codes, scale, zero_point = node.outputs
    describe(codes, f"{value.name}.dynamic.codes", value.shape, ir.DataType.UINT8)
    describe(scale, f"{value.name}.dynamic.scale", ir.Shape(()), ir.DataType.FLOAT)
    describe(zero_point, f"{value.name}.dynamic.zero_point", ir.Shape(()), ir.DataType.UINT8)
    producer = value.producer()
    if producer is not None:
        graph.insert_after(producer, [node])
    else:
        graph.insert_before(graph[0], [node])
    return tuple(node.outputs)


def _computed(
    op_type: str,
    inputs: list[ir.Value | None],
    name: str,
    shape: ir.Shape | None,
    dtype: ir.DataType | None,
    **attributes: int,
) -> ir.Value:
    node = ir.node(op_type, inputs, attributes, name=name)
    return describe(node.outputs[0], f"{name}.out", shape, dtype)
