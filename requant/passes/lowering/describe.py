"""Describe new values, and insert their nodes."""

from collections.abc import Sequence

import onnx_ir as ir

from ...ir.names import fresh_name


def describe(
    graph: ir.Graph, value: ir.Value, name: str, shape: ir.Shape | None, dtype: ir.DataType | None
) -> ir.Value:
    """Give the new ``value`` of ``graph`` a shape, a type and ``name``, with a number where that is taken."""
    value.name, value.shape = fresh_name(graph, name), shape
    value.type = ir.TensorType(dtype) if dtype is not None else None
    return value


def insert_behind(graph: ir.Graph, value: ir.Value, nodes: Sequence[ir.Node]) -> None:
    """Insert ``nodes`` behind the producer of ``value``, or first in the graph where it has none."""
    producer = value.producer()
    if producer is not None:
        graph.insert_after(producer, nodes)
    else:
        graph.insert_before(graph[0], nodes)
