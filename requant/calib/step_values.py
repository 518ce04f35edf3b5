"""Measure the values between steps (`requant.ir.steps`): their size, and the statistics of those that are computed.

Values that a step only moves have the elements of those that it moves, and need no statistics.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from ..ir.linear import find_linears
from ..ir.quantized import is_partly_quantized
from ..ir.steps import find_steps
from ..runtime.feeds import Feed
from ..runtime.outputs import arrays
from ..runtime.session import runner
from .collect import fingerprint, first_feeds
from .sample_axes import count_samples, sample_axes
from .statistics import ChannelStatistics
from .watch import Watch

STEP_VALUE = "requant.step_value"
"""Key in `Value.meta` of the `StepValue` of a value."""


@dataclass(frozen=True)
class StepValue:
    """The number of ``elements`` of a value in the first feed, and its statistics where it is computed and not moved.

    ``shape`` is that of the first array that it was there; empty where it was not computed.
    """

    shape: tuple[int, ...]
    elements: int
    statistics: ChannelStatistics | None = None


def step_value(value: ir.Value | None) -> StepValue | None:
    """Return what `measure_steps` left on ``value``, or None."""
    entry = value.meta.get(STEP_VALUE) if value is not None else None
    return entry if isinstance(entry, StepValue) else None


def measure_steps(model: ir.Model, feeds: Iterable[Feed]) -> None:
    """Run ``model`` on each of ``feeds``, and attach a `StepValue` to each float that a step reads or writes.

    Linear layers that are no step get the size of their data alone.

    Nothing is attached to a value that is a single number, or empty in the first feed.
    """
    sizes = _sizes(model)
    computed = _computed(model)
    watch = Watch({name: min(1, len(size.shape) - 1) for name, size in sizes.items() if name in computed})
    names, outputs, along = list(watch.axes), len(model.graph.outputs), sample_axes(model)
    run = runner(model, names, optimized=not is_partly_quantized(model))
    for feed in feeds:
        watch.add(dict(zip(names, run(feed)[outputs:], strict=True)), fingerprint(feed), count_samples(feed, along))
    for value in _sized(model):
        if (size := sizes.get(value.name or "")) is not None:
            value.meta[STEP_VALUE] = replace(size, statistics=watch.totals.get(value.name or ""))


def _values(model: ir.Model) -> dict[ir.Value, None]:
    """Return the floats that steps read and write, in order."""
    steps = find_steps(model.graph)
    values = (value for step in steps for value in (*step.inputs, *step.outputs))
    return {value: None for value in values if value.dtype == ir.DataType.FLOAT}


def _sized(model: ir.Model) -> dict[ir.Value, None]:
    """Return the floats whose size decides on the time of a step, or of another linear layer."""
    data = [linear.data for linear in find_linears(model.graph)]
    return {**_values(model), **{value: None for value in data if value.dtype == ir.DataType.FLOAT}}


def _computed(model: ir.Model) -> set[str]:
    """Return the names of the values that are not what a step moves."""
    moved = {value for step in find_steps(model.graph) if step.moves for value in step.outputs}
    return {value.name or "" for value in _values(model) if value not in moved}


def _sizes(model: ir.Model) -> dict[str, StepValue]:
    """Measure the size of each value of a step in the first feed, without statistics."""
    names, outputs = [value.name or "" for value in _sized(model)], len(model.graph.outputs)
    run = runner(model, names, optimized=not is_partly_quantized(model))
    taps = [list(arrays(tap)) for tap in run(first_feeds(model)[0])[outputs:]]
    values = {name: _size(parts) for name, parts in zip(names, taps, strict=True) if parts}
    return {name: size for name, size in values.items() if size.shape and size.elements}


def _size(parts: Sequence[NDArray[np.generic]]) -> StepValue:
    return StepValue(parts[0].shape, sum(part.size for part in parts))
