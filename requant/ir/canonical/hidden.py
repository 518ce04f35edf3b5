"""Hiding nodes from passes of others that would not know what to do with them."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import chain

import onnx_ir as ir

_HIDING_PLACE = "hidden"

_AHEAD_OF_ITS_OPSET = ("LayerNormalization", "SimplifiedLayerNormalization")
"""What ONNX Runtime puts into the standard domain at any opset."""


@contextmanager
def hidden(model: ir.Model, which: Callable[[ir.Node], bool]) -> Iterator[None]:
    """Let the standard nodes that ``which`` picks be of a domain that nobody knows."""
    for node in all_nodes(model):
        if node.domain == "" and which(node):
            node.domain = _HIDING_PLACE
            model.graph.opset_imports[_HIDING_PLACE] = 1
    try:
        yield
    finally:
        for node in all_nodes(model):
            if node.domain == _HIDING_PLACE:
                node.domain = ""
        model.graph.opset_imports.pop(_HIDING_PLACE, None)


def ahead_of_its_opset(node: ir.Node) -> bool:
    """Whether a converter of opsets would not know the op, though it looks like a standard one."""
    return node.op_type in _AHEAD_OF_ITS_OPSET


def hands_out(node: ir.Node) -> bool:
    """Whether it makes a value from around a body an output of the body, which has to have outputs of its own."""
    value = node.inputs[0] if node.op_type == "Identity" and node.inputs else None
    return value is not None and node.outputs[0].is_graph_output() and value.graph is not node.graph


def all_nodes(model: ir.Model) -> Iterator[ir.Node]:
    """The nodes of the graph, of its functions, and of the bodies in both."""
    return chain(model.graph.all_nodes(), *(function.all_nodes() for function in model.functions.values()))
