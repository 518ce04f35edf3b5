"""One form of a Gemm with a constant weight.

Aᵀ W = (Aᵀ) W        W A = (Aᵀ Wᵀ)ᵀ        α A W + β C, for any C but a bias, = (α A W) + β C
"""

import onnx_ir as ir

from ..build import follow, precede
from ..constants import array, constant, constant_shape, is_constant
from ..linear import FEWEST_CHANNELS, is_bias
from .weight_layouts import WeightLayouts, is_left


def left_gemm(weights: WeightLayouts, node: ir.Node) -> bool:
    """Let the weight be the second operand of a Gemm."""
    if not is_left(node) or min(constant_shape(node.inputs[0])) < FEWEST_CHANNELS:
        return False
    weight, data, *_ = node.inputs
    _separate_addend(weights.graph, node)
    transposed = [node.attributes.get_int(name, 0) for name in ("transB", "transA")]
    for position, (value, flag) in enumerate(zip((data, weight), transposed, strict=True)):
        node.replace_input_with(position, value)
        _set_flag(node, ("transA", "transB")[position], 1 - flag)
    follow(weights.graph, node, "Transpose", perm=[1, 0])
    return True


def transposed_data(weights: WeightLayouts, node: ir.Node) -> bool:
    """Transpose the data of a Gemm before it."""
    if not is_constant(node.inputs[1]) or is_constant(node.inputs[0]) or not node.attributes.get_int("transA", 0):
        return False
    precede(weights.graph, node, 0, "Transpose", perm=[1, 0])
    _set_flag(node, "transA", 0)
    return True


def bias_or_none(weights: WeightLayouts, node: ir.Node) -> bool:
    """Leave a Gemm no third input but a bias [N] or [1, N]."""
    addend = node.inputs[2] if len(node.inputs) > 2 else None
    if addend is None or not is_constant(node.inputs[1]) or is_constant(node.inputs[0]):
        return False
    if node.attributes.get_float("beta", 1.0) != 0 and is_bias(addend):
        return False
    scalar = array(addend)
    if scalar is not None and scalar.ndim == 0:
        addend = constant(weights.graph, scalar.reshape(1), f"{addend.name}.flat")
        node.replace_input_with(2, addend)
    if node.attributes.get_float("beta", 1.0) == 0 or not is_bias(addend):
        _separate_addend(weights.graph, node)
    return True


def _separate_addend(graph: ir.Graph, node: ir.Node) -> None:
    """Add β C behind a Gemm; nothing where β is 0."""
    addend, beta = node.inputs[2] if len(node.inputs) > 2 else None, node.attributes.get_float("beta", 1.0)
    node.attributes.pop("beta", None)
    if addend is None:
        return
    node.resize_inputs(2)
    if beta != 0:
        add = follow(graph, node, "Add", addend)
        if beta != 1:
            precede(graph, add, 1, "Mul", beta)


def _set_flag(node: ir.Node, name: str, flag: int) -> None:
    node.attributes[name] = ir.AttrInt64(name, flag)
