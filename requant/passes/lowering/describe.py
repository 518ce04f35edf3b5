"""What a new value is called and holds, and where its node goes."""

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
    """Put ``nodes`` behind the one that makes ``value``, or first in the graph when none does."""
    producer = value.producer()
    if producer is not None:
        graph.insert_after(producer, nodes)
    else:
        graph.insert_before(graph[0], nodes)
