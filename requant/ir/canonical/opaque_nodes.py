"""Nodes hidden from passes of other libraries that handle them wrongly, and nodes that such passes write wrongly."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import onnx_ir as ir

from ..ops import LAYER_NORMS
from ..traverse import all_nodes

_HIDING_PLACE = "hidden"

_AHEAD_OF_ITS_OPSET = LAYER_NORMS - {"RMSNormalization"}
"""Ops that ONNX Runtime writes into the standard domain at any opset."""


_SPLIT_COUNTS_OUTPUTS = 18
"""The opset from which on a Split without sizes has num_outputs."""


@contextmanager
def hidden(model: ir.Model, is_hidden: Callable[[ir.Node], bool]) -> Iterator[None]:
    """Move the standard nodes for which ``is_hidden`` is true to a domain of which passes know no op."""
    nodes = [node for node in all_nodes(model) if node.domain == "" and is_hidden(node)]
    if not nodes:
        yield
        return
    for node in nodes:
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
    """Tell whether ``node`` looks like a standard op, but is newer than its opset, so that no converter knows it."""
    return node.op_type in _AHEAD_OF_ITS_OPSET


def splits_at_run_time(node: ir.Node) -> bool:
    """Tell whether ``node`` splits a sequence by computed sizes, which onnxscript's folding takes for constants."""
    sizes = node.inputs[1] if node.op_type == "SplitToSequence" and len(node.inputs) > 1 else None
    return sizes is not None and ir.convenience.get_const_tensor(sizes) is None


def drop_output_counts(model: ir.Model) -> None:
    """Drop num_outputs of each Split where the opset has none; the parts are equal without it.

    onnxscript's folding writes it at any opset, for a SplitToSequence into parts of one size.
    """
    if model.graph.opset_imports.get("", 0) >= _SPLIT_COUNTS_OUTPUTS:
        return
    for node in all_nodes(model):
        if node.op_type == "Split" and node.domain == "":
            node.attributes.pop("num_outputs", None)


def necessary_identities(model: ir.Model) -> frozenset[ir.Node]:
    """Find the Identity nodes that separate an output of a graph or of a body from another input or output.

    A graph's outputs are values of its own and different from each other, from its inputs and from its initializers.
    """
    sources: set[ir.Value] = set()
    necessary: set[ir.Node] = set()
    for node in model.graph.all_nodes():
        if _is_identity(node) and node.outputs[0].is_graph_output():
            source = _source(node)
            is_local = source.producer() is not None and source.graph is node.graph and not source.is_graph_output()
            if is_local and source not in sources:
                sources.add(source)
            else:
                necessary.add(node)
    return frozenset(necessary)


def _source(identity: ir.Node) -> ir.Value:
    """Return the value that ``identity`` and the Identity nodes before it copy, up to an output of a graph."""
    node: ir.Node | None = identity
    value = identity.inputs[0]
    while node is not None and _is_identity(node) and (value := node.inputs[0]) and not value.is_graph_output():
        node = value.producer()
    assert value is not None
    return value


def _is_identity(node: ir.Node) -> bool:
    return node.op_type == "Identity" and node.domain == "" and len(node.inputs) == 1 and node.inputs[0] is not None
