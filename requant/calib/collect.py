"""Run the float model over the data once, and leave statistics on the values that linear layers read."""

import hashlib
from collections.abc import Callable, Iterable, Mapping

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from ..errors import DataError
from ..ir.linear import find_linears
from ..ir.quantized import is_partly_quantized
from ..runtime.feeds import Feed, is_floating
from ..runtime.session import runner
from .rows import DROPPED, UNREACHED
from .sample_axes import count_samples, sample_axes
from .statistics import ROWS, ChannelStatistics
from .watch import Watch

META = "requant.statistics"
"""Key in `Value.meta` of the statistics of a value."""

FIRST = "requant.feeds"
"""Key in `Graph.meta` of the first feeds, for passes that have to run the model."""

MOST_KEPT = 4
"""Number of feeds that are kept."""

MOST_REACHING = 12
"""The most feeds that are kept beyond those because they are the first to reach a body."""


def statistics(value: ir.Value | None) -> ChannelStatistics | None:
    """Return the statistics that `collect` left on ``value``, or None."""
    entry = value.meta.get(META) if value is not None else None
    return entry if isinstance(entry, ChannelStatistics) else None


def is_calibrated(model: ir.Model) -> bool:
    """Tell whether `collect` was run on ``model``; a value that was always empty has no statistics even then."""
    linears = list(find_linears(model.graph))
    return not linears or any(META in linear.data.meta for linear in linears)


def first_feeds(model: ir.Model) -> tuple[Feed, ...]:
    """Return the first feeds of the calibration data, which `collect` kept, and the first ones to reach a body."""
    entry = model.graph.meta.get(FIRST, ())
    return entry if isinstance(entry, tuple) else ()


def reaching_feeds(model: ir.Model) -> tuple[Feed, ...]:
    """Return those of `first_feeds` that are among them because they are the first to reach a body."""
    return first_feeds(model)[MOST_KEPT:]


def watched(model: ir.Model) -> dict[ir.Value, int]:
    """Map each value to measure to its channel axis: the inputs of linear layers."""
    return {linear.data: linear.data_axis for linear in find_linears(model.graph)}


def witnesses(model: ir.Model) -> dict[ir.Node, ir.Value]:
    """Map each linear node in a body to a value that is computed where the body is run: its data, or an output."""
    linears = [linear for linear in find_linears(model.graph) if linear.node.graph is not model.graph]
    outputs = {linear.node.graph: linear.node.outputs[0] for linear in linears}
    return {
        linear.node: linear.data if linear.data.graph is linear.node.graph else outputs[linear.node.graph]
        for linear in linears
    }


def collect(
    model: ir.Model, feeds: Iterable[Feed], *, rows: int = ROWS, progress: Callable[[int], None] = lambda count: None
) -> int:
    """Run ``model`` once on each feed and attach `ChannelStatistics` to the watched values; keep the first feeds.

    ``rows`` are the most that are sampled of each value.

    Time is one forward pass a feed; memory is the watched values of one feed, whatever the number of feeds. Rows that
    are NaN or infinite are left out and counted (see `requant.calib.rows`); empty values are skipped. A value in a body
    counts each time that it is computed; layers in bodies that are never run are marked.

    Returns:
        The number of samples.

    Raises:
        DataError: there are no samples.
    """
    values = {value.name or "": value for value in watched(model)}
    watch = Watch({value.name or "": axis for value, axis in watched(model).items()}, rows)
    unreached = {node: value.name or "" for node, value in witnesses(model).items()}
    names = list(dict.fromkeys([*values, *unreached.values()]))
    run = runner(model, names, optimized=not is_partly_quantized(model))
    samples, outputs, first, along = 0, len(model.graph.outputs), list[Feed](), sample_axes(model)
    for count, feed in enumerate(feeds, start=1):
        batch, taps = count_samples(feed, along), dict(zip(names, run(feed)[outputs:], strict=True))
        watch.add(taps, fingerprint(feed), batch)
        remaining = {node: name for node, name in unreached.items() if not len(taps[name])}
        reaches = len(remaining) < len(unreached) and len(first) < MOST_KEPT + MOST_REACHING
        first += [feed] if count <= MOST_KEPT or reaches else []
        unreached = remaining
        samples += batch
        progress(count)
    if not samples:
        raise DataError("calibration data: holds no samples")
    for name, value in values.items():
        value.meta[META], value.meta[DROPPED] = watch.totals.get(name), watch.dropped[name]
    for node in unreached:
        node.meta[UNREACHED] = True
    model.graph.meta[FIRST] = tuple(first)  # a clone of a model has its graph's meta, and none of its own
    return samples


def fingerprint(feed: Mapping[str, NDArray[np.generic]]) -> int:
    """Hash the contents of ``feed``, and nothing else; floats count as float32, whatever the type of the file."""
    digest = hashlib.blake2b(digest_size=8)
    for name in sorted(feed):
        digest.update(name.encode())
        array = feed[name]
        data = array.astype(np.float32, copy=False) if is_floating(array) else array
        digest.update(np.ascontiguousarray(data).tobytes())
    return int.from_bytes(digest.digest(), "little")
