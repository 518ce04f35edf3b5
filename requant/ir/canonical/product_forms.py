"""One form of the products with a constant weight, for which `requant.ir.linear` has views.

    MatMul     x W, for W of shape [K, N] or [B, K, N]; a linear Einsum becomes one
    Gemm       α A W + β b, for a bias b
    Conv       W x + b, for a constant b; (W x) + b for a computed one

All rewrites are exact. Why a layer keeps another form is in `requant.ir.unsupported`.
"""

from collections.abc import Callable

import onnx_ir as ir

from ..build import follow, precede
from ..constants import constant_shape, is_constant
from ..ops import CONVOLUTIONS, LINEAR, is_op
from ..traverse import graphs_within
from .einsum_forms import as_matmul
from .gemm_forms import bias_or_none, left_gemm, transposed_data
from .matmul_forms import left_matmul, one_matrix, one_product
from .weight_layouts import WeightLayouts

Form = Callable[[WeightLayouts, ir.Node], bool]
"""A function that brings a node into its form, and returns whether it had to."""


def rewrite_products(model: ir.Model) -> frozenset[ir.Node]:
    """Bring the products of the main graph and of all bodies into one form; returns those that were rewritten."""
    layouts = [WeightLayouts(graph) for graph in graphs_within(model.graph)]
    products = [(weights, node) for weights in layouts for node in weights.graph if is_op(node, LINEAR | {"Einsum"})]
    return frozenset(node for weights, node in products if _rewrite(weights, node))


def _rewrite(weights: WeightLayouts, node: ir.Node) -> bool:
    """Apply every form of the op of ``node``, one after the other."""
    changes = [form(weights, node) for form in _FORMS[node.op_type]]
    return any(changes)


def _matmul(weights: WeightLayouts, node: ir.Node) -> bool:
    """Turn a linear Einsum into a MatMul of its form."""
    if not as_matmul(weights, node):
        return False
    one_matrix(weights, node)
    return True


def _constant_bias(weights: WeightLayouts, node: ir.Node) -> bool:
    """Add the computed bias of a convolution behind it."""
    bias = node.inputs[2] if len(node.inputs) > 2 else None
    if bias is None or is_constant(bias) or not is_constant(node.inputs[1]):
        return False
    node.resize_inputs(2)
    add = follow(weights.graph, node, "Add", bias)
    precede(weights.graph, add, 1, "Unsqueeze", [*range(1, len(constant_shape(node.inputs[1])) - 1)])
    return True


_FORMS: dict[str, tuple[Form, ...]] = {
    "MatMul": (left_matmul, one_matrix, one_product),
    "Gemm": (left_gemm, transposed_data, bias_or_none),
    "Einsum": (_matmul,),
    **dict.fromkeys(CONVOLUTIONS, (_constant_bias,)),
}
