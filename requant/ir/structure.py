"""The structure of an untrusted graph: each value is produced once and before it is read, and every loop ends."""

from collections.abc import Iterable, Mapping
from itertools import chain

import onnx_ir as ir

from ..errors import SourceError
from .ops import CONVERSIONS
from .order import label, require_order
from .traverse import producer

MOST_NODES = 1_000_000
"""Nodes that a model may have once its functions are expanded."""

MOST_ITERATIONS = 2**24
"""Iterations of a loop whose body cannot end it."""

MOST_ELEMENTS = 2**34
"""Elements that a declared shape may have: 64 GiB of float32."""

_DEEPEST = 64

_Functions = Mapping[ir.OperatorIdentifier, ir.Function]


def require_structure(model: ir.Model, name: str) -> None:
    """Bring the nodes of ``model`` into an order in which it can be computed, and refuse what has none.

    Raises:
        SourceError: names the node or value at fault: read and never produced, part of a cycle, too large for any
            machine, a function that calls itself.
    """
    for graph in roots(model):
        for node in graph.all_nodes():
            _require_produced(node, node.inputs, name)
            _require_texts(node, name)
        require_order(graph, name)
    for graph in model.graphs():
        for value in graph.outputs:
            if not _is_defined(value):
                raise SourceError(f"{name}: no node produces the output {value.name!r}")
    _require_sizes(model, name)
    _expanded_size(model.graph, model.functions, name, {}, ())


def roots(model: ir.Model) -> tuple[ir.Graph | ir.Function, ...]:
    """Return the graph of ``model`` and its functions: all that holds nodes and is not the body of one."""
    return (model.graph, *model.functions.values())


def _require_produced(node: ir.Node, values: Iterable[ir.Value | None], name: str) -> None:
    for value in values:
        if value is not None and not _is_defined(value):
            raise SourceError(f"{name}: node {node.name!r} reads {value.name!r}, which no node produces")


def _is_defined(value: ir.Value) -> bool:
    return value.producer() is not None or value.is_graph_input() or value.is_initializer()


def _require_texts(node: ir.Node, name: str) -> None:
    values = [value.name for value in (*node.inputs, *node.outputs) if value is not None]
    if not all(isinstance(text, str) for text in (node.name or "", node.op_type, node.domain, *values)):
        raise SourceError(f"{name}: node {node.name!r} or one of its values has a name that is not valid text")


def require_ends(model: ir.Model, name: str) -> None:
    """Refuse loops that practically never end, in a model that `require_schemas` accepts.

    Raises:
        SourceError: names the first one.
    """
    for graph in roots(model):
        for node in graph.all_nodes():
            _require_end(node, name)


def _require_end(node: ir.Node, name: str) -> None:
    """Refuse a Loop of too many iterations whose body passes its condition on unchanged."""
    if node.op_type != "Loop" or node.domain or len(node.inputs) < 2:
        return
    iterations, body = _number(node.inputs[0]), node.attributes.get("body")
    if iterations is None or iterations <= MOST_ITERATIONS or body is None or body.type != ir.AttributeType.GRAPH:
        return
    outputs = body.as_graph().outputs
    if not outputs:
        return
    source = producer(outputs[0], through=CONVERSIONS)
    if source is None or source.op_type == "Constant":
        raise SourceError(f"{name}: node {label(node)!r} would run its body {iterations} times")


def _number(value: ir.Value | None) -> int | None:
    """Return the constant that ``value`` is, if it is one number."""
    tensor = ir.convenience.get_const_tensor(value) if value is not None else None
    return int(tensor.numpy().item()) if tensor is not None and tensor.size == 1 else None


def _require_sizes(model: ir.Model, name: str) -> None:
    """Refuse declared shapes that are too large for any machine, before memory is allocated for them."""
    for graph in model.graphs():
        for value in chain(graph.inputs, *(node.outputs for node in graph)):
            elements = 1
            for size in value.shape or ():
                elements *= size if isinstance(size, int) and size > 0 else 1
            if elements > MOST_ELEMENTS:
                raise SourceError(f"{name}: value {value.name!r} is declared to have {elements} elements")


def _expanded_size(
    graph: ir.Graph | ir.Function, functions: _Functions, name: str, counts: dict[ir.OperatorIdentifier, int],
    stack: tuple[ir.OperatorIdentifier, ...],
) -> int:  # fmt: skip
    """Count the nodes of ``graph`` with its functions expanded."""
    total = 0
    for node in graph.all_nodes():
        function = node.op_identifier()
        if function in functions:
            if function in stack:
                raise SourceError(f"{name}: function {node.op_type!r} calls itself")
            if len(stack) >= _DEEPEST:
                raise SourceError(f"{name}: functions are nested {_DEEPEST} deep")
            if function not in counts:
                counts[function] = _expanded_size(functions[function], functions, name, counts, (*stack, function))
            total += counts[function]
        total += 1
    if total > MOST_NODES:
        raise SourceError(f"{name}: its functions expand to {total} nodes, more than the {MOST_NODES} allowed")
    return total
