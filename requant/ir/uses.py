"""Who reads a value."""

import onnx_ir as ir


def sole_use(value: ir.Value) -> tuple[ir.Node, int] | None:
    """The node that reads ``value`` and the input there, if nobody else reads it and it is no output of the graph."""
    uses = value.uses()
    if len(uses) != 1 or value.is_graph_output():
        return None
    ((node, position),) = uses
    return node, position
