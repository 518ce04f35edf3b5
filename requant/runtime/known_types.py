"""Types and shapes of values as ONNX Runtime infers them, for ops that ONNX's own inference does not know."""

import re

import onnx_ir as ir

from .session import session, tapped

_TENSOR = re.compile(r"tensor\((\w+)\)")


def know_types(model: ir.Model) -> bool:
    """Give values of the main graph the types that ONNX Runtime infers, where they have none; says whether any had.

    Raises:
        SourceError: ONNX Runtime does not load the model.
    """
    values = {value.name or "": value for node in model.graph for value in node.outputs if value.name}
    unknown = [name for name, value in values.items() if value.type is None or value.shape is None]
    untyped = [name for name in unknown if values[name].type is None]
    if not untyped:
        return False
    for found in session(tapped(model, unknown), optimized=False).get_outputs():
        kind, value = _TENSOR.fullmatch(found.type), values[found.name]
        if found.name in unknown and kind is not None:
            value.type = value.type or ir.TensorType(ir.DataType[kind[1].upper()])
            value.shape = value.shape or ir.Shape(found.shape)
    return True
