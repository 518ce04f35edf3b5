"""Walks along the edges of a graph.

``through`` names the ops that a walk passes: a container of their types, or a predicate of nodes.
"""

from collections.abc import Callable, Container, Iterable, Iterator
from itertools import chain
from typing import TypeAlias

import onnx_ir as ir

from .ops import CONTROL_FLOW, is_op

Slot: TypeAlias = tuple[ir.Node, int]
"""An input of a node: the node and the position."""

Through: TypeAlias = Container[str] | Callable[[ir.Node], bool]


def consumers(value: ir.Value, through: Through = ()) -> Iterator[Slot]:
    """Yield the inputs that read ``value``, or what nodes that are passed ``through`` make of it; depth first."""
    stack, visited = [value], {value}
    while stack:
        for node, position in stack.pop().uses():
            if not _is_passed(node, through):
                yield node, position
            elif not visited.issuperset(node.outputs):
                visited.update(node.outputs)
                stack += node.outputs


def sole_use(value: ir.Value) -> Slot | None:
    """Return the only input that reads ``value``; None if there are none or several, or it is a graph output.

    A reader in a body is none: it may run several times, or not at all.
    """
    uses = value.uses()
    if len(uses) != 1 or value.is_graph_output():
        return None
    ((node, position),) = uses
    return (node, position) if node.graph is value.graph else None


def producer(value: ir.Value | None, through: Through = ()) -> ir.Node | None:
    """Return the node that computes ``value``, or the first one upstream that is not passed ``through``.

    Nodes that are passed are followed along their first input; None at an input of the graph or a constant.
    """
    node = value.producer() if value is not None else None
    while node is not None and _is_passed(node, through) and node.inputs[0] is not None:
        node = node.inputs[0].producer()
    return node


def origin(value: ir.Value | None, through: Through) -> ir.Value | None:
    """Return ``value`` as it is before the nodes that are passed ``through``, along their first inputs."""
    while value is not None and (node := value.producer()) is not None and _is_passed(node, through):
        value = node.inputs[0]
    return value


def producers(values: Iterable[ir.Value | None], through: Through = ()) -> Iterator[ir.Node]:
    """Yield the nodes that compute ``values``, and those upstream of each that is passed ``through``; depth first.

    Nodes that are passed are followed along all their inputs, the last one first, and are yielded too.
    """
    stack, visited = list(values), set[ir.Node]()
    while stack:
        value = stack.pop()
        node = value.producer() if value is not None else None
        if node is not None and node not in visited:
            visited.add(node)
            yield node
            stack += node.inputs if _is_passed(node, through) else ()


def reachable(starts: Iterable[ir.Value], step: Callable[[ir.Value], Iterable[ir.Value]]) -> Iterator[ir.Value]:
    """Yield ``starts`` and all values that ``step`` leads to from them, each once; breadth first.

    A value is yielded before ``step`` is asked about it.
    """
    queue = list(dict.fromkeys(starts))
    visited = set(queue)
    for value in queue:
        yield value
        for neighbour in step(value):
            if neighbour not in visited:
                visited.add(neighbour)
                queue.append(neighbour)


def all_nodes(model: ir.Model) -> Iterator[ir.Node]:
    """Yield the nodes of the graph, of its functions, and of the bodies in both."""
    return chain(model.graph.all_nodes(), *(function.all_nodes() for function in model.functions.values()))


def bodies(node: ir.Node) -> Iterator[ir.Graph]:
    """Yield the bodies of an If, a Loop or a Scan; other nodes have none that are entered.

    Nor has a Scan that stacks its outputs along another axis than the first.
    """
    if is_op(node, CONTROL_FLOW) and not any(node.attributes.get_ints("scan_output_axes", ())):
        graphs = (one for one in node.attributes.values() if one.type == ir.AttributeType.GRAPH)
        yield from (attribute.as_graph() for attribute in graphs)


def nodes_within(graph: ir.Graph) -> Iterator[ir.Node]:
    """Yield the nodes of ``graph``, each followed by those of its `bodies`."""
    for node in graph:
        yield node
        for body in bodies(node):
            yield from nodes_within(body)


def enclosed_nodes(graph: ir.Graph) -> Iterator[tuple[ir.Node, ir.Node]]:
    """Yield the nodes in bodies that are not entered, each behind the node of ``graph`` or its `bodies` that has it."""
    for owner in nodes_within(graph):
        if not any(True for _ in bodies(owner)):
            for attribute in owner.attributes.values():
                if attribute.type == ir.AttributeType.GRAPH:
                    yield from ((owner, node) for node in attribute.as_graph().all_nodes())


def graphs_within(graph: ir.Graph) -> Iterator[ir.Graph]:
    """Yield ``graph`` and the `bodies` of its nodes, each before those within it."""
    yield graph
    for node in graph:
        for body in bodies(node):
            yield from graphs_within(body)


def _is_passed(node: ir.Node, through: Through) -> bool:
    return through(node) if callable(through) else node.op_type in through
