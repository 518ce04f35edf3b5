"""A product of integers as the product of floats that it stands for.

    Cast((q - z) (W - w)) · (s · s_w)        X ((W - w) s_w),  q = QuantizeLinear(X; s, z), or scaled at run time

That is how `requant.passes.lowering.integer_product` and tools that quantize at run time write a linear layer.
"""

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray
from onnx_ir.convenience import replace_nodes_and_values

from ...ir.constants import array, constant, is_constant, lazily
from ...ir.ops import DYNAMIC_QUANTIZERS, is_op
from ...ir.traverse import sole_use

_QUANTIZE = DYNAMIC_QUANTIZERS | {"QuantizeLinear"}


def multiply_floats(node: ir.Node) -> bool:
    """Replace the MatMulInteger ``node``, its Cast and its Mul by a MatMul; False where the graph has another form."""
    last, factor = _scaled(node)
    quantize, weight = node.inputs[0].producer() if node.inputs[0] is not None else None, node.inputs[1]
    if last is None or factor is None or quantize is None or not is_op(quantize, _QUANTIZE):
        return False
    scale = _weight_scale(factor, quantize)
    zero_point = node.inputs[3] if len(node.inputs) > 3 else None
    if scale is None or not is_constant(weight) or not (zero_point is None or is_constant(zero_point)):
        return False
    graph = last.graph
    assert isinstance(graph, ir.Graph)
    assert weight is not None
    assert weight.const_value is not None
    zeros, scales = array(zero_point), array(scale)
    assert scales is not None
    steps = scales.astype(np.float32)

    def numbers(data: NDArray[np.generic]) -> NDArray[np.generic]:
        return (data.astype(np.float32) - (zeros.astype(np.float32) if zeros is not None else 0)) * steps

    floats = constant(graph, lazily(numbers, weight.const_value, dtype=ir.DataType.FLOAT), f"{weight.name}.float")
    product = ir.node("MatMul", [quantize.inputs[0], floats], name=node.name)
    replace_nodes_and_values(graph, last, [last], [product], last.outputs, product.outputs)
    return True


def _scaled(node: ir.Node) -> tuple[ir.Node | None, ir.Value | None]:
    """Return the Mul behind the Cast of ``node``, and its other operand; None where there are other readers."""
    for op_type in ("Cast", "Mul"):
        use = sole_use(node.outputs[0])
        if use is None or use[0].op_type != op_type:
            return None, None
        node, position = use
    return node, node.inputs[1 - position]


def _weight_scale(factor: ir.Value, quantize: ir.Node) -> ir.Value | None:
    """Return s_w of ``factor`` = s · s_w, where s is the scale of ``quantize``."""
    product = factor.producer()
    if product is None or product.op_type != "Mul":
        return None
    first, second = product.inputs
    if is_constant(first):
        first, second = second, first
    return second if is_constant(second) and first is not None and _is_scale(first, quantize) else None


def _is_scale(value: ir.Value, quantize: ir.Node) -> bool:
    """Tell whether ``value`` is the scale of ``quantize``, or that of a DequantizeLinear of 1."""
    if quantize.op_type in DYNAMIC_QUANTIZERS:
        return value is quantize.outputs[1]
    node = value.producer()
    if node is None or node.op_type != "DequantizeLinear":
        return value is quantize.inputs[1]
    one = array(node.inputs[0])
    return node.inputs[1] is quantize.inputs[1] and one is not None and one.size == 1 and int(one.reshape(-1)[0]) == 1
