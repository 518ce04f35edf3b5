"""The axis of each input along which its samples lie: the first one, unless the model scans over it.

x [T, N, C] → LSTM, Scan        samples lie along N, in all inputs that have such an axis
"""

from collections.abc import Iterator, Mapping, Sequence

import onnx_ir as ir

from ..ir.ops import RECURRENT, is_op
from ..runtime.feeds import Feed

Axes = Mapping[str, int | None]
"""The axis of samples by the name of the input; None where each sample has all of it."""


def sample_axes(model: ir.Model) -> Axes:
    """Find the axes of samples from the names of dimensions, which a model in canonical form has everywhere.

    All are None where the model scans over the first axis of an input and no axis of the inputs holds samples.
    """
    shapes = {value.name or "": _dims(value) for value in model.graph.inputs}
    first = {dims[0] for dims in shapes.values() if dims and isinstance(dims[0], str)}
    for time, batch in _scans(model.graph):
        if time in first:
            batch_name = batch if isinstance(batch, str) else None
            return {name: dims.index(batch_name) if batch_name in dims else None for name, dims in shapes.items()}
    by_freedom = sorted(shapes, key=lambda name: isinstance(next(iter(shapes[name]), None), int))  # dynamic ones first
    return {name: 0 if shapes[name] != [] else None for name in by_freedom}


def count_samples(feed: Feed, axes: Axes) -> int:
    """Count the samples in ``feed``: the size of the sample axis of the first of ``axes`` that is not empty there."""
    lengths = [
        feed[name].shape[axis] for name, axis in axes.items() if axis is not None and name in feed and feed[name].ndim
    ]
    return next((length for length in lengths if length), 0 if lengths else 1)


def _scans(graph: ir.Graph) -> Iterator[tuple[int | str | None, int | str | None]]:
    """Yield the dimension that each recurrent node scans over, and the one behind it, which is of samples."""
    for node in graph:
        values: Sequence[ir.Value | None] = ()
        if is_op(node, RECURRENT) and not node.attributes.get_int("layout", 0):
            values = node.inputs[:1]
        elif node.domain == "" and node.op_type == "Scan":
            count = node.attributes.get_int("num_scan_inputs", 0)
            axes = node.attributes.get_ints("scan_input_axes", ())
            values = () if any(axes) else node.inputs[len(node.inputs) - count :]
        for value in values:
            dims = _dims(value) if value is not None else []
            if len(dims) > 1:
                yield dims[0], dims[1]


def _dims(value: ir.Value) -> list[int | str | None]:
    return [] if value.shape is None else [dim if isinstance(dim, int) else dim.value for dim in value.shape]
