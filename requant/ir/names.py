"""One register of the names in a graph, so that a pass adds values under names that are not in use.

ONNX requires the names of inputs, initializers and values to differ, also from those in bodies of control flow, and a
model may have values with names as passes choose them, such as "norm.scale" or "dense.kernel.codes".
"""

import itertools
from collections.abc import Iterator
from weakref import WeakKeyDictionary

import onnx_ir as ir

ORIGINAL_NAME = "requant.given"
"""Key in `Node.meta` of the original name of a node that shared it with another."""

_REGISTERS: WeakKeyDictionary[ir.Graph, set[str]] = WeakKeyDictionary()


def fresh_name(graph: ir.Graph, name: str) -> str:
    """Take ``name`` for a value of ``graph``, with a number behind it where it is in use."""
    if graph not in _REGISTERS:
        _REGISTERS[graph] = set(_names(graph))
    names, unique, count = _REGISTERS[graph], name, 0
    while unique in names:
        count += 1
        unique = f"{name}.{count}"
    names.add(unique)
    return unique


def forget_names(graph: ir.Graph) -> None:
    """Read the names of ``graph`` again when the next one is taken: passes of other libraries may have added some."""
    _REGISTERS.pop(graph, None)


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


def remember_names(original: ir.Model, model: ir.Model) -> None:
    """Note on the nodes of ``model``, the canonical form of ``original``, their names before `separate_nodes`."""
    original_names = {value.name: node.meta.get(ORIGINAL_NAME) for node in original.graph for value in node.outputs}
    for node in model.graph:
        node.meta[ORIGINAL_NAME] = original_names.get(node.outputs[0].name) if node.outputs else None


def _names(graph: ir.Graph) -> Iterator[str]:
    for part in (graph, *graph.subgraphs()):
        outputs = (value for node in part for value in node.outputs)
        yield from (value.name or "" for value in (*part.inputs, *part.initializers.values(), *outputs))
