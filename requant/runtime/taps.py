"""Taps: values inside of a graph, as outputs of a copy."""

from collections.abc import Sequence

import onnx_ir as ir

from .body_taps import BodyTaps


def with_taps(model: ir.Model, names: Sequence[str]) -> ir.Model:
    """Return a copy of ``model`` that also outputs the values named ``names``.

    A value in a body of an If, a Loop or a Scan comes out as a sequence of what it was each time that it was computed.
    """
    copy = model.clone()
    present, taps = {output.name for output in copy.graph.outputs}, BodyTaps(copy.graph)
    absent = [name for name in dict.fromkeys(names) if name not in present]
    for name in absent:
        if taps.values[name].graph is not copy.graph:
            taps.tap(name)
    copy.graph.outputs.extend(taps.values[name] for name in absent)
    return copy
