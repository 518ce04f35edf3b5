"""The number formats of a graph."""

from collections.abc import Iterator

import onnx_ir as ir


def dtypes(model: ir.Model) -> frozenset[ir.DataType]:
    """Collect the types of the inputs, weights and nodes' values of ``model``, as far as they are declared."""
    return frozenset(value.dtype for value in _values(model) if value.dtype is not None)


def _values(model: ir.Model) -> Iterator[ir.Value]:
    yield from model.graph.inputs
    for node in model.graph.all_nodes():
        yield from (value for value in (*node.inputs, *node.outputs) if value is not None)
