"""One register of the names in a graph, so that a pass adds values under names that are not in use.

ONNX requires the names of inputs, initializers and values to differ, also from those in bodies of control flow, and a
model may have values with names as passes choose them, such as "norm.scale" or "dense.kernel.codes".
"""

import itertools
from collections import Counter
from collections.abc import Iterator
from weakref import WeakKeyDictionary, ref

import onnx_ir as ir

ORIGINAL_NAME = "requant.given"
"""Key in `Node.meta` of the original name of a node that shared it with another."""

_REGISTERS: WeakKeyDictionary[ir.Graph, set[str]] = WeakKeyDictionary()

_ROOTS: WeakKeyDictionary[ir.Graph, ref[ir.Graph]] = WeakKeyDictionary()
"""The graph that each body is in, at any depth: they share a register."""


def fresh_name(graph: ir.Graph, name: str) -> str:
    """Take ``name`` for a value of ``graph``, with a number behind it where it is in use.

    A body has to be known as one of the graph that it is in, which `forget_names` or a name taken there makes it.
    """
    root = _root(graph)
    if root not in _REGISTERS:
        forget_names(root)
        _REGISTERS[root] = set(_names(root))
    names, unique, count = _REGISTERS[root], name, 0
    while unique in names:
        count += 1
        unique = f"{name}.{count}"
    names.add(unique)
    return unique


def forget_names(graph: ir.Graph) -> None:
    """Read the names of ``graph`` again when the next one is taken: passes of other libraries may have added some."""
    _REGISTERS.pop(graph, None)
    for body in graph.subgraphs():
        _ROOTS[body] = ref(graph)


def _root(graph: ir.Graph) -> ir.Graph:
    owner = _ROOTS.get(graph)
    return (owner() if owner is not None else None) or graph


def separate_nodes(model: ir.Model) -> None:
    """Give different names to nodes of ``model`` that share one, which ONNX allows and ONNX Runtime refuses."""
    names = {node.name for node in model.graph.all_nodes()}
    visited: set[str | None] = {None, ""}
    for node in model.graph.all_nodes():
        if node.name in visited and node.name:
            node.meta[ORIGINAL_NAME] = node.name
            node.name = next(name for count in itertools.count(1) if (name := f"{node.name}.{count}") not in names)
            names.add(node.name)
        visited.add(node.name)


def separate_values(model: ir.Model) -> None:
    """Give different names to values of bodies that share one, as two branches may, so that a name means one value."""
    names, counts = set(_local_names(model.graph)), Counter[str]()
    for body in model.graph.subgraphs():
        for value in _values(body):
            name = value.name or ""
            while value.name in names and name:
                counts[name] += 1
                value.name = f"{name}.{counts[name]}"
            names.add(value.name or "")


def remember_names(original: ir.Model, model: ir.Model) -> None:
    """Note on the nodes of ``model``, the canonical form of ``original``, their names before `separate_nodes`."""
    nodes = original.graph.all_nodes()
    original_names = {value.name: node.meta.get(ORIGINAL_NAME) for node in nodes for value in node.outputs}
    for node in model.graph.all_nodes():
        node.meta[ORIGINAL_NAME] = original_names.get(node.outputs[0].name) if node.outputs else None


def _names(graph: ir.Graph) -> Iterator[str]:
    for part in (graph, *graph.subgraphs()):
        yield from _local_names(part)


def _local_names(graph: ir.Graph) -> Iterator[str]:
    return (value.name or "" for value in _values(graph))


def _values(graph: ir.Graph) -> tuple[ir.Value, ...]:
    outputs = (value for node in graph for value in node.outputs)
    return (*graph.inputs, *graph.initializers.values(), *outputs)
