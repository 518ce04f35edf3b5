"""Constant values: reading them as arrays, making them, and making them lazily."""

from collections.abc import Callable

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from .names import fresh_name


def array(value: ir.Value | None) -> NDArray[np.generic] | None:
    """Read the constant that ``value`` holds; None when it is absent or computed at run time."""
    if value is None or value.const_value is None or value.is_graph_input():
        return None
    return value.const_value.numpy()


def is_constant(value: ir.Value | None) -> bool:
    """Tell whether ``value`` is an initializer that no caller can override. Reads no data."""
    return value is not None and value.const_value is not None and not value.is_graph_input()


def constant_shape(value: ir.Value | None) -> tuple[int, ...]:
    """Return the shape of the constant that ``value`` is."""
    assert value is not None
    assert value.const_value is not None
    return tuple(value.const_value.shape.numpy())


def is_repeated(data: ir.Value) -> bool:
    """Tell whether ``data`` is a constant, or one that is repeated as often as there are samples."""
    node = data.producer()
    if is_constant(data) or node is None:
        return is_constant(data)
    return node.op_type == "ConstantOfShape" or (node.op_type == "Expand" and is_constant(node.inputs[0]))


def constant(graph: ir.Graph, data: NDArray[np.generic] | ir.TensorProtocol, name: str) -> ir.Value:
    """Register ``data`` in ``graph`` as an initializer ``name``, with a number behind it if that is in use."""
    tensor = ir.Tensor(np.asarray(data)) if isinstance(data, np.ndarray | np.generic) else data
    unique = fresh_name(graph, name)
    value = ir.Value(name=unique, shape=ir.Shape(tensor.shape.numpy()), type=ir.TensorType(tensor.dtype))
    value.const_value = tensor
    tensor.name = unique
    graph.register_initializer(value)
    return value


def lazily(
    function: Callable[[NDArray[np.generic]], NDArray[np.generic]],
    tensor: ir.TensorProtocol,
    *,
    dtype: ir.DataType | None = None,
    shape: tuple[int, ...] | None = None,
) -> ir.LazyTensor:
    """Wrap ``function(tensor)``, computed each time it is read, so that no copy of a weight stays in memory."""
    out_dtype = dtype or tensor.dtype
    out_shape = ir.Shape(tensor.shape.numpy() if shape is None else shape)

    def evaluate() -> ir.TensorProtocol:
        result = np.asarray(function(tensor.numpy()), order="C").astype(out_dtype.numpy(), copy=False)
        return ir.Tensor(result, dtype=out_dtype)

    return ir.LazyTensor(evaluate, dtype=out_dtype, shape=out_shape, name=tensor.name)
