"""What a new value is called and holds."""

import onnx_ir as ir


def describe(value: ir.Value, name: str, shape: ir.Shape | None, dtype: ir.DataType | None) -> ir.Value:
    """``value``, with its name, shape and type."""
    value.name, value.shape = name, shape
    value.type = ir.TensorType(dtype) if dtype is not None else None
    return value
