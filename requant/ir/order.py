"""The order of nodes: each behind the producers of its inputs."""

from collections.abc import Iterator
from itertools import chain

import onnx_ir as ir

from ..errors import SourceError


def require_order(graph: ir.Graph | ir.Function, name: str) -> None:
    """Sort the nodes of ``graph`` where they read what comes later; a good order is left as it is.

    Raises:
        SourceError: nodes form a cycle, which the message names.
    """
    if all(_is_sorted(part) for part in (graph, *graph.subgraphs())):
        return
    try:
        graph.sort()
    except ValueError as error:
        raise SourceError(f"{name}: nodes form a cycle ({' → '.join(_cycle(graph))})") from error


def _is_sorted(graph: ir.Graph | ir.Function) -> bool:
    visited = set[ir.Node]()
    for node in graph:
        for consumer in (node, *_inner(node)):
            for value in consumer.inputs:
                producer = value.producer() if value is not None else None
                if producer is not None and producer.graph is node.graph and producer not in visited:
                    return False
        visited.add(node)
    return True


def _inner(node: ir.Node) -> Iterator[ir.Node]:
    """Yield the nodes in the bodies of ``node``."""
    for attribute in node.attributes.values():
        if attribute.type == ir.AttributeType.GRAPH and not attribute.is_ref():
            yield from attribute.as_graph().all_nodes()
        elif attribute.type == ir.AttributeType.GRAPHS and not attribute.is_ref():
            yield from chain.from_iterable(body.all_nodes() for body in attribute.as_graphs())


def _cycle(graph: ir.Graph | ir.Function) -> list[str]:
    """Return the names of the nodes of a cycle; each node's first producer is followed until one comes again."""
    unsorted = {node: _producers(node) for node in graph}
    while ready := [node for node, producers in unsorted.items() if not producers & unsorted.keys()]:
        for node in ready:
            del unsorted[node]
    path = [next(iter(unsorted))]
    while path[-1] not in path[:-1]:
        path.append(next(producer for producer in unsorted if producer in unsorted[path[-1]]))
    return [label(node) for node in path[path.index(path[-1]) :]]


def _producers(node: ir.Node) -> set[ir.Node]:
    values = chain.from_iterable(consumer.inputs for consumer in (node, *_inner(node)))
    return {producer for value in values if value is not None and (producer := value.producer()) is not None}


def label(node: ir.Node) -> str:
    """Name ``node`` in messages."""
    return node.name or next((value.name for value in node.outputs if value.name), "") or node.op_type
