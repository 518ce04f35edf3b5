"""Walks along the edges of a graph."""

from collections.abc import Container, Iterator

import onnx_ir as ir


def consumers(value: ir.Value, through: Container[str] = ()) -> Iterator[tuple[ir.Node, int]]:
    """The nodes that read ``value`` and the input there, or what ops of the types ``through`` make of it."""
    waiting, met = [value], {value}
    while waiting:
        for node, position in waiting.pop().uses():
            if node.op_type not in through:
                yield node, position
            elif not met.issuperset(node.outputs):
                met.update(node.outputs)
                waiting += node.outputs
