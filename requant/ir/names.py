"""One register of the names in a graph: what a pass adds is called like no value that is there.

ONNX wants the names of inputs, initializers and values to be different, also from those in bodies of control flow, and
a model may have values that are called as ours are, such as "norm.scale" or "dense.kernel.codes".
"""

from collections.abc import Iterator
from weakref import WeakKeyDictionary

import onnx_ir as ir

_REGISTERS: WeakKeyDictionary[ir.Graph, set[str]] = WeakKeyDictionary()


def fresh_name(graph: ir.Graph, name: str) -> str:
    """Take ``name`` for a value of ``graph``, with a number behind it where it is taken."""
    if graph not in _REGISTERS:
        _REGISTERS[graph] = set(_names(graph))
    names, unique, count = _REGISTERS[graph], name, 0
    while unique in names:
        count += 1
        unique = f"{name}.{count}"
    names.add(unique)
    return unique


def forget_names(graph: ir.Graph) -> None:
    """Read the names of ``graph`` again when the next one is taken: passes of others may have added some."""
    _REGISTERS.pop(graph, None)


def _names(graph: ir.Graph) -> Iterator[str]:
    for part in (graph, *graph.subgraphs()):
        made = (value for node in part for value in node.outputs)
        yield from (value.name or "" for value in (*part.inputs, *part.initializers.values(), *made))
