"""Data whose scale is computed at run time: q, s, z = DynamicQuantizeLinear(x)."""

import onnx_ir as ir

from ...ir.build import describe, insert_behind


def quantized_at_run_time(graph: ir.Graph, value: ir.Value) -> tuple[ir.Value, ...]:
    """The codes of ``value``, their scale and their zero point."""
    node = ir.node("DynamicQuantizeLinear", [value], num_outputs=3, name=f"{value.name}.quantize")
    codes, scale, zero_point = node.outputs
    describe(graph, codes, f"{value.name}.dynamic.codes", value.shape, ir.DataType.UINT8)
    describe(graph, scale, f"{value.name}.dynamic.scale", ir.Shape(()), ir.DataType.FLOAT)
    describe(graph, zero_point, f"{value.name}.dynamic.zero_point", ir.Shape(()), ir.DataType.UINT8)
    insert_behind(graph, value, [node])
    return tuple(node.outputs)
