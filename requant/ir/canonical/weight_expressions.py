"""Folding of weights that are computed from constants, whatever their size.

    W + α A B        W · gain        g · V / ‖V‖        unmerged adapters, equalized and normalized weights

An engine computes them once when it loads the model, and then multiplies by the result.
"""

import onnx_ir as ir
from onnxscript.optimizer import fold_constants

from ..constants import is_constant
from ..ops import (
    ARITHMETIC,
    BLOCKING,
    CLIPPING,
    CONVERSIONS,
    EXPONENTIALS,
    EXTREMA,
    EXTREME_REDUCTIONS,
    JOINING,
    LAYOUT,
    LINEAR,
    LINEAR_REDUCTIONS,
    POWERS,
    PRODUCTS,
    S_CURVES,
    SIGN_CHANGES,
    SLICING,
    SQUARE_SUMS,
    is_op,
)

_FUNCTIONS = SIGN_CHANGES | POWERS | (EXPONENTIALS - {"Log"}) | (S_CURVES - {"Erf"}) | {"Softplus"}
_NORMS = SQUARE_SUMS | LINEAR_REDUCTIONS | (EXTREME_REDUCTIONS - {"ReduceMin"})
_EXPRESSION = (
    ARITHMETIC | EXTREMA | CONVERSIONS | JOINING | _FUNCTIONS | _NORMS | (LAYOUT - BLOCKING - {"Flatten"})
    | (CLIPPING - {"Relu"}) | (PRODUCTS - {"Gemm"}) | (SLICING - {"Split"})
)  # fmt: skip
"""Ops of which exporters write weight expressions, without those of a kind that they do not write."""

_ANY_SIZE = 2**62


def fold_weights(model: ir.Model) -> bool:
    """Fold every weight of the main graph that is an expression of constants; returns True if there was one."""
    expressions = _expressions(model.graph)
    if not expressions:
        return False
    result = fold_constants(
        model, input_size_limit=_ANY_SIZE, output_size_limit=_ANY_SIZE, should_fold=lambda node: node in expressions
    )
    return bool(result.modified)


def _expressions(graph: ir.Graph) -> set[ir.Node]:
    """Find the nodes of all expressions of constants that end in the weight of a layer."""
    constants: set[ir.Node] = set()
    for node in graph:
        inputs = [value for value in node.inputs if value is not None]
        is_known = all(is_constant(value) or value.producer() in constants for value in inputs)
        if is_known and inputs and len(node.outputs) == 1 and is_op(node, _EXPRESSION):
            constants.add(node)
    weights = {node.inputs[1] for node in graph if node.op_type in LINEAR and len(node.inputs) > 1}
    expressions: set[ir.Node] = set()
    for node in reversed(graph):
        if node in constants and node.outputs[0] in weights:
            expressions.add(node)
            weights.update(node.inputs)
    return expressions
