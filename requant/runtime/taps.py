"""Taps: values inside of a graph, as outputs of a copy."""

from collections.abc import Sequence

import onnx_ir as ir


def with_taps(model: ir.Model, names: Sequence[str]) -> ir.Model:
    """Return a copy of ``model`` that also outputs the values named ``names``."""
    copy = model.clone()
    values = ir.convenience.create_value_mapping(copy.graph)
    present = {output.name for output in copy.graph.outputs}
    copy.graph.outputs.extend(values[name] for name in dict.fromkeys(names) if name not in present)
    return copy
