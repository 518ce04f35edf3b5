"""Taps: values inside of a graph, as outputs of a copy."""

from collections.abc import Sequence

import onnx_ir as ir

from .body_taps import BodyTaps


def with_taps(model: ir.Model, names: Sequence[str]) -> ir.Model:
    """Return a copy of ``model`` that also outputs the values named ``names``.

    A value in a body of an If, a Loop or a Scan comes out as a sequence of what it was each time that it was computed.
    """
    copy = model.clone()
    values = ir.convenience.create_value_mapping(copy.graph)
    present, taps = {output.name for output in copy.graph.outputs}, BodyTaps(copy.graph)
    for name in dict.fromkeys(names):
        value = values[name]
        if value.graph is not copy.graph:
            value = taps.sequence(value)
        if name not in present:
            copy.graph.outputs.append(value)
    return copy
