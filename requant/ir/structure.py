"""The structure of a stranger's graph: each value is made once and before it is read, and nothing goes on for ever."""

from collections.abc import Iterable, Mapping
from itertools import chain

import onnx_ir as ir

from ..errors import SourceError
from .order import label, require_order

MOST_NODES = 1_000_000
"""Nodes that a model may have once its functions are written out."""

MOST_TRIPS = 2**24
"""How often a loop may run its body when nothing in it can end it."""

MOST_ELEMENTS = 2**34
"""Elements that a declared shape may have: 64 GiB of float32."""

_DEEPEST = 64

_Functions = Mapping[ir.OperatorIdentifier, ir.Function]


def require_structure(model: ir.Model, name: str) -> None:
    """Bring the nodes of ``model`` into an order in which it can be computed, and refuse what has none.

    Raises:
        SourceError: names the node or value at fault: read and never made, part of a circle, of a size that no
            machine holds, a function that calls itself.
    """
    for graph in roots(model):
        for node in graph.all_nodes():
            _require_made(node, node.inputs, name)
            _require_texts(node, name)
        require_order(graph, name)
    for graph in model.graphs():
        for value in graph.outputs:
            if not _is_made(value):
                raise SourceError(f"{name}: nothing makes the output {value.name!r}")
    _require_sizes(model, name)
    _expanded(model.graph, model.functions, name, {}, ())


def roots(model: ir.Model) -> tuple[ir.Graph | ir.Function, ...]:
    """The graph of ``model`` and its functions: what holds nodes and is no body of one."""
    return (model.graph, *model.functions.values())


def _require_made(node: ir.Node, values: Iterable[ir.Value | None], name: str) -> None:
    for value in values:
        if value is not None and not _is_made(value):
            raise SourceError(f"{name}: node {node.name!r} reads {value.name!r}, which nothing makes")


def _is_made(value: ir.Value) -> bool:
    return value.producer() is not None or value.is_graph_input() or value.is_initializer()


def _require_texts(node: ir.Node, name: str) -> None:
    values = [value.name for value in (*node.inputs, *node.outputs) if value is not None]
    if not all(isinstance(text, str) for text in (node.name or "", node.op_type, node.domain, *values)):
        raise SourceError(f"{name}: node {node.name!r} or one of its values has a name that is no text")


def require_ends(model: ir.Model, name: str) -> None:
    """Refuse loops that run for years, in a model whose nodes are what their operators take.

    Raises:
        SourceError: names the first.
    """
    for graph in roots(model):
        for node in graph.all_nodes():
            _require_end(node, name)


def _require_end(node: ir.Node, name: str) -> None:
    """Refuse a Loop with an endless number of trips whose body hands on its condition as it is."""
    if node.op_type != "Loop" or node.domain or len(node.inputs) < 2:
        return
    trips, body = _number(node.inputs[0]), node.attributes.get("body")
    if body is None or body.type != ir.AttributeType.GRAPH or (trips is not None and trips <= MOST_TRIPS):
        return
    graph = body.as_graph()
    condition = graph.outputs[0] if graph.outputs else None
    while condition is not None and (maker := condition.producer()) and maker.op_type in ("Identity", "Cast"):
        condition = maker.inputs[0]
    constant = condition is not None and (maker := condition.producer()) is not None and maker.op_type == "Constant"
    if trips is not None and condition is not None and (constant or condition.producer() is None):
        raise SourceError(f"{name}: node {label(node)!r} would run its body {trips} times")


def _number(value: ir.Value | None) -> int | None:
    """The constant that ``value`` is, if it is one number."""
    tensor = ir.convenience.get_const_tensor(value) if value is not None else None
    return int(tensor.numpy().item()) if tensor is not None and tensor.size == 1 else None


def _require_sizes(model: ir.Model, name: str) -> None:
    """Refuse declared shapes that no machine holds, before anything is made in them."""
    for graph in model.graphs():
        made = chain.from_iterable(node.outputs for node in graph)
        for value in chain(graph.inputs, made):
            elements = 1
            for size in value.shape or ():
                elements *= size if isinstance(size, int) and size > 0 else 1
            if elements > MOST_ELEMENTS:
                raise SourceError(f"{name}: value {value.name!r} is declared to have {elements} elements")


def _expanded(
    graph: ir.Graph | ir.Function, functions: _Functions, name: str, known: dict[ir.OperatorIdentifier, int],
    stack: tuple[ir.OperatorIdentifier, ...],
) -> int:  # fmt: skip
    """How many nodes ``graph`` has with its functions written out."""
    total = 0
    for node in graph.all_nodes():
        called = node.op_identifier()
        if called in functions:
            if called in stack:
                raise SourceError(f"{name}: function {node.op_type!r} calls itself")
            if len(stack) >= _DEEPEST:
                raise SourceError(f"{name}: functions call each other {_DEEPEST} deep")
            if called not in known:
                known[called] = _expanded(functions[called], functions, name, known, (*stack, called))
            total += known[called]
        total += 1
    if total > MOST_NODES:
        raise SourceError(f"{name}: its functions are {total} nodes when they are written out, of {MOST_NODES} allowed")
    return total
