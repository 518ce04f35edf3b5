"""Run the float model over the data once, and leave statistics on the values that linear layers read."""

import hashlib
from collections.abc import Callable, Iterable, Mapping

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from ..errors import DataError
from ..ir.conv_outputs import ConvOutput, conv_outputs
from ..ir.linear import find_linears
from ..runtime.feeds import Feed
from ..runtime.session import runner
from .rows import DROPPED, Dropped, finite_rows
from .sample_axes import count_samples, sample_axes
from .statistics import ChannelStatistics, measure

META = "requant.statistics"
"""Key in `Value.meta` of what was seen of a value."""

FIRST = "requant.feeds"
"""Key in `Graph.meta` of the first feeds, for passes that have to run the model."""

MOST_KEPT = 4
"""How many feeds are kept."""


def statistics(value: ir.Value | None) -> ChannelStatistics | None:
    """What `collect` left on ``value``, or None."""
    found = value.meta.get(META) if value is not None else None
    return found if isinstance(found, ChannelStatistics) else None


def is_calibrated(model: ir.Model) -> bool:
    """Whether `collect` looked at what linear layers read; a value that was always empty has no statistics even so."""
    linears = list(find_linears(model.graph))
    return not linears or any(META in linear.data.meta for linear in linears)


def first_feeds(model: ir.Model) -> tuple[Feed, ...]:
    """The first of the feeds that `collect` saw."""
    found = model.graph.meta.get(FIRST, ())
    return found if isinstance(found, tuple) else ()


def watched(model: ir.Model) -> dict[ir.Value, int]:
    """The values to look at, with their channel axes: what linears read, and what a Conv may have to round."""
    linears = list(find_linears(model.graph))
    rounded = [
        conv_output.value for conv_output in conv_outputs(linears).values() if isinstance(conv_output, ConvOutput)
    ]
    return {**dict.fromkeys(rounded, 1), **{linear.data: linear.data_axis for linear in linears}}


def collect(model: ir.Model, feeds: Iterable[Feed], *, progress: Callable[[int], None] = lambda count: None) -> int:
    """Run ``model`` once on each feed and attach `ChannelStatistics` to the watched values; keep the first feeds.

    Time is one forward pass a feed; memory is the watched values of one feed, whatever the number of feeds. Rows that
    are NaN or infinite are left out and counted (see `requant.calib.rows`), and a value that is empty says nothing.

    Returns:
        The number of samples seen.

    Raises:
        DataError: there are no samples.
    """
    axes = {value.name or "": (value, axis) for value, axis in watched(model).items()}
    run = runner(model, list(axes), optimized=True)
    totals: dict[str, ChannelStatistics] = {}
    dropped = dict.fromkeys(axes, Dropped())
    samples, outputs, first, along = 0, len(model.graph.outputs), list[Feed](), sample_axes(model)
    for count, feed in enumerate(feeds, start=1):
        first += [feed] if count <= MOST_KEPT else []
        seed, batch = fingerprint(feed), count_samples(feed, along)
        for name, data in zip(axes, run(feed)[outputs:], strict=True):
            rows, kept = finite_rows(data, axes[name][1])
            dropped[name] = dropped[name].and_of(len(kept), len(kept) - len(rows))
            if len(rows):
                seen = measure(rows, -1, seed, _samples(data, axes[name][1], batch, kept))
                totals[name] = totals[name].merge(seen) if name in totals else seen
        samples += batch
        progress(count)
    if not samples:
        raise DataError("calibration data: holds no samples")
    for name, (value, _) in axes.items():
        value.meta[META], value.meta[DROPPED] = totals.get(name), dropped[name]
    model.graph.meta[FIRST] = tuple(first)  # a clone of a model has its graph's meta, and none of its own
    return samples


def fingerprint(feed: Mapping[str, NDArray[np.generic]]) -> int:
    """A number that depends on what the feed holds and on nothing else."""
    digest = hashlib.blake2b(digest_size=8)
    for name in sorted(feed):
        digest.update(name.encode())
        digest.update(np.ascontiguousarray(feed[name]).tobytes())
    return int.from_bytes(digest.digest(), "little")


def _samples(data: NDArray[np.generic], axis: int, batch: int, kept: NDArray[np.bool_]) -> NDArray[np.int64]:
    """The sample of each row that is kept: samples lie along the first axis wherever that is as long as the batch."""
    first = data.ndim > 1 and axis % data.ndim != 0 and len(data) == batch
    return np.repeat(np.arange(batch if first else 1), len(kept) // (batch if first else 1))[kept]
