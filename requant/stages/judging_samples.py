"""The samples that plans are judged on: those held out, or the first of the calibration data where none are."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice

import numpy as np
import onnx_ir as ir

from ..calib.holdout import Split
from ..calib.labels import with_labels
from ..calib.sample_axes import count_samples, sample_axes
from ..metrics import Labels, Metric
from ..runtime.feeds import Feed


@dataclass(frozen=True)
class JudgingSamples:
    """Feeds, their ``origin`` in words, the number of samples in each of them, and all labels where there are any."""

    feeds: tuple[Feed, ...]
    origin: str
    counts: tuple[int, ...]
    labels: Labels | None = None

    def of(self, numbers: Sequence[int]) -> "JudgingSamples":
        """Return the feeds of these ``numbers``."""
        ends = np.cumsum((0, *self.counts))
        places = [np.arange(ends[number], ends[number + 1]) for number in numbers]
        labels = None if self.labels is None else self.labels[np.concatenate([np.arange(0), *places])]
        feeds = tuple(self.feeds[number] for number in numbers)
        return JudgingSamples(feeds, self.origin, tuple(self.counts[number] for number in numbers), labels)

    def __str__(self) -> str:
        """Say how many batches of what they are."""
        return f"{len(self.feeds)} {self.origin} batch{'es' if len(self.feeds) > 1 else ''}"


def judging_samples(parts: Split, model: ir.Model, metric: Metric | None, most: int) -> JudgingSamples:
    """Return the samples to judge on, at most as many feeds as ``most``, with the labels of ``metric``.

    Raises:
        DataError: the labels do not fit the calibration data.
    """
    origin = "calibration" if parts.held_out is None else "held-out"
    samples = partial(count_samples, axes=sample_axes(model))
    if metric is None or metric.labels is None:
        feeds = tuple(islice(parts.training if parts.held_out is None else parts.held_out, most))
        return JudgingSamples(feeds, origin, tuple(map(samples, feeds)))
    pairs = list(_labelled(parts, metric.labels, samples))[:most]
    feeds = tuple(feed for feed, _ in pairs)
    return JudgingSamples(feeds, origin, tuple(map(samples, feeds)), np.concatenate([labels for _, labels in pairs]))


def _labelled(parts: Split, labels: Labels, samples: "partial[int]") -> Iterator[tuple[Feed, Labels]]:
    """Yield the feeds to judge on with their labels; reads all of the data, since labels go by their order."""
    data = parts.training if parts.data is None else parts.data
    for feed, own in with_labels(data, labels, samples):
        if parts.held_out is None or parts.is_held_out(feed):
            yield feed, own
