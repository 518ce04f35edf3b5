"""Weights that are computed from constants become constants, whatever their size.

    W + α A B        W · gain        g · V / ‖V‖        adapters that were not merged, equalized and normalized weights

An engine computes them once when it loads the model, and then multiplies by the result.
"""

from collections.abc import Iterator

import onnx_ir as ir
from onnxscript.optimizer import fold_constants

from ..constants import is_constant

_LAYERS = ("Conv", "ConvTranspose", "Gemm", "MatMul")

_ARITHMETIC = frozenset(
    {"Abs", "Add", "Cast", "Clip", "Concat", "Div", "Exp", "Identity", "MatMul", "Max", "Min", "Mul", "Neg", "Pow"}
    | {"Reciprocal", "ReduceL2", "ReduceMax", "ReduceMean", "ReduceSum", "ReduceSumSquare", "Reshape", "Sigmoid"}
    | {"Slice", "Softplus", "Sqrt", "Squeeze", "Sub", "Tanh", "Transpose", "Unsqueeze"}
)
"""Ops by which exporters leave weights to be computed."""

_ANY_SIZE = 2**62


def fold_weights(model: ir.Model) -> bool:
    """Compute every weight of the main graph that is an expression of constants; says whether there was one."""
    chosen = set(_expressions(model.graph))
    if not chosen:
        return False
    result = fold_constants(
        model, input_size_limit=_ANY_SIZE, output_size_limit=_ANY_SIZE, should_fold=lambda node: node in chosen
    )
    return bool(result.modified)


def _expressions(graph: ir.Graph) -> Iterator[ir.Node]:
    """The nodes of all expressions of constants that end in the weight of a layer."""
    constant: set[ir.Node] = set()
    for node in graph:
        inputs = [value for value in node.inputs if value is not None]
        known = all(is_constant(value) or value.producer() in constant for value in inputs)
        if known and inputs and node.domain == "" and node.op_type in _ARITHMETIC and len(node.outputs) == 1:
            constant.add(node)
    waiting = [node.inputs[1] for node in graph if node.op_type in _LAYERS and len(node.inputs) > 1]
    met = set[ir.Node]()
    while waiting:
        value = waiting.pop()
        maker = value.producer() if value is not None else None
        if maker in constant and maker is not None and maker not in met:
            met.add(maker)
            yield maker
            waiting += maker.inputs
