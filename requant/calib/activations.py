"""Measure the values between kernels (`requant.ir.kernels`): their size, and the statistics of those that are computed.

Values that a kernel only moves have the elements of those that it moves, and need no statistics.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from ..ir.kernels import find_kernels
from ..ir.linear import find_linears
from ..ir.quantized import is_partly_quantized
from ..runtime.feeds import Feed
from ..runtime.outputs import arrays
from ..runtime.session import runner
from .collect import fingerprint, first_feeds
from .sample_axes import count_samples, sample_axes
from .statistics import ChannelStatistics
from .watch import Watch

ACTIVATION = "requant.activation"
"""Key in `Value.meta` of the `Activation` of a value."""


@dataclass(frozen=True)
class Activation:
    """The number of ``elements`` of a value, and its statistics where it is computed and not moved.

    Both ``elements`` and ``shape`` are those in the first feed in which it is computed; the shape is that of its first
    array there.
    """

    shape: tuple[int, ...]
    elements: int
    statistics: ChannelStatistics | None = None


def activation(value: ir.Value | None) -> Activation | None:
    """Return what `measure_activations` left on ``value``, or None."""
    entry = value.meta.get(ACTIVATION) if value is not None else None
    return entry if isinstance(entry, Activation) else None


def measure_activations(model: ir.Model, feeds: Iterable[Feed]) -> None:
    """Run ``model`` on each of ``feeds``, and attach a `Activation` to each float that a kernel reads or writes.

    Linear layers that are no kernel get the size of their data alone. A model without Convs has none of these. Nothing
    is attached to a value that is a single number, or empty where it is computed first.
    """
    if not find_kernels(model.graph):
        return
    sizes = _sizes(model)
    computed = _computed(model)
    watch = Watch({name: min(1, len(size.shape) - 1) for name, size in sizes.items() if name in computed})
    names, outputs, along = list(watch.axes), len(model.graph.outputs), sample_axes(model)
    run = runner(model, names, optimized=not is_partly_quantized(model))
    for feed in feeds:
        watch.add(dict(zip(names, run(feed)[outputs:], strict=True)), fingerprint(feed), count_samples(feed, along))
    for value in _sized(model):
        if (size := sizes.get(value.name or "")) is not None:
            value.meta[ACTIVATION] = replace(size, statistics=watch.totals.get(value.name or ""))


def _values(model: ir.Model) -> dict[ir.Value, None]:
    """Return the floats that kernels read and write, in order."""
    kernels = find_kernels(model.graph)
    values = (value for kernel in kernels for value in kernel.values)
    return {value: None for value in values if value.dtype == ir.DataType.FLOAT}


def _sized(model: ir.Model) -> dict[ir.Value, None]:
    """Return the floats whose size decides on the time of a kernel, or of another linear layer."""
    data = [linear.data for linear in find_linears(model.graph)]
    return {**_values(model), **{value: None for value in data if value.dtype == ir.DataType.FLOAT}}


def _computed(model: ir.Model) -> set[str]:
    """Return the names of the values that are not what a kernel moves."""
    moved = {value for kernel in find_kernels(model.graph) if kernel.moves for value in kernel.outputs}
    return {value.name or "" for value in _values(model) if value not in moved}


def _sizes(model: ir.Model) -> dict[str, Activation]:
    """Measure the size of each value of a kernel in the first feed in which it is computed, without statistics."""
    names, outputs = [value.name or "" for value in _sized(model)], len(model.graph.outputs)
    run, sizes = runner(model, names, optimized=not is_partly_quantized(model)), dict[str, Activation]()
    for feed in first_feeds(model):
        taps = zip(names, run(feed)[outputs:], strict=True)
        values = {name: parts for name, tap in taps if name not in sizes and (parts := list(arrays(tap)))}
        sizes |= {name: _size(parts) for name, parts in values.items()}
        if len(sizes) == len(names):  # the first feed computes all but what is in a branch that it does not take
            break
    return {name: size for name, size in sizes.items() if size.shape and size.elements}


def _size(parts: Sequence[NDArray[np.generic]]) -> Activation:
    return Activation(parts[0].shape, sum(part.size for part in parts))
