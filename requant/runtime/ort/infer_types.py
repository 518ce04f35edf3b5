"""Types and shapes of values as ONNX Runtime infers them, for ops that ONNX's own inference does not know."""

import re

import onnx_ir as ir

from ..taps import with_taps
from .session import session

_TENSOR = re.compile(r"tensor\((\w+)\)")


def infer_types(model: ir.Model) -> bool:
    """Give untyped values of the main graph the types that ONNX Runtime infers, and tell whether there were any.

    Raises:
        SourceError: ONNX Runtime does not load the model.
    """
    values = {value.name or "": value for node in model.graph for value in node.outputs if value.name}
    incomplete = [name for name, value in values.items() if value.type is None or value.shape is None]
    if all(values[name].type is not None for name in incomplete):
        return False
    for output in session(with_taps(model, incomplete), optimized=False).get_outputs():
        kind, value = _TENSOR.fullmatch(output.type), values[output.name]
        if output.name in incomplete and kind is not None:
            value.type = value.type or ir.TensorType(ir.DataType[kind[1].upper()])
            value.shape = value.shape or (ir.Shape(output.shape) if output.shape else None)  # [] for an unknown rank
    return True
