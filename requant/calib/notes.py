"""Warnings of valid calibration data that gives bad ranges: all 0, constant, of one sample, or of another scale."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from ..ir.ops import ARITHMETIC, BLOCKING, CENTRED_NORMS, FRAMING, LAYOUT, RESAMPLING
from ..ir.traverse import consumers
from ..runtime.feeds import Feed

_NORMALIZES = ARITHMETIC | (CENTRED_NORMS - {"GroupNormalization"}) | {"Cast"}
_MOVES = (LAYOUT - BLOCKING - {"Flatten"}) | FRAMING | (RESAMPLING - {"Upsample"})
_IMAGE_AXES, _BRIGHT = 4, 128


@dataclass
class _Range:
    """The range of one input; ``whole`` where all its elements are non-negative integers, as pixels are."""

    low: float = np.inf
    high: float = -np.inf
    whole: bool = True
    axes: int = 0

    def add(self, data: NDArray[np.generic]) -> None:
        self.axes = data.ndim
        if data.size:
            self.low, self.high = min(self.low, float(data.min())), max(self.high, float(data.max()))
            self.whole = self.whole and self.low >= 0 and bool((data == np.floor(data)).all())


@dataclass
class Notes:
    """A collector of notes on calibration data whose ranges cannot be trusted.

    Constants are reported of floating-point inputs of several elements only: integers, such as masks and token types,
    and single numbers, such as a rate, are constant in many good data sets.
    """

    model: ir.Model
    _ranges: dict[str, _Range] = field(default_factory=dict)
    _first: dict[str, NDArray[np.generic]] = field(default_factory=dict)
    _differing: bool = False

    def watch(self, feeds: Iterable[Feed]) -> Iterator[Feed]:
        """Iterate over ``feeds`` and collect the ranges of their inputs."""
        for feed in feeds:
            self._differing = self._differing or self._differs(feed)
            for name, data in feed.items():
                if np.issubdtype(data.dtype, np.floating) and data.ndim and data.size > len(data):
                    self._ranges.setdefault(name, _Range()).add(data)
            yield feed

    def lines(self, samples: int) -> list[str]:
        """List one line for each problem of the ``samples`` that were watched."""
        notes = []
        if samples == 1:
            notes.append("calibration holds a single sample: ranges from one sample rarely fit other data")
        elif samples > 1 and not self._differing:
            notes.append(f"all {samples} calibration samples are equal: the ranges come from a single one")
        for value in self.model.graph.inputs:
            extent = self._ranges.get(value.name or "")
            if extent is not None and (problem := _problem(value, extent)):
                notes.append(f"input {value.name!r} {problem}")
        return notes

    def _differs(self, feed: Feed) -> bool:
        """Tell whether any sample in ``feed`` differs from the first sample of the data."""
        if not self._first:
            self._first.update({name: np.atleast_1d(data)[:1].copy() for name, data in feed.items()})
        return any(
            np.atleast_1d(data).shape[1:] != self._first[name].shape[1:] or bool((data != self._first[name]).any())
            for name, data in feed.items()
        )


def _problem(value: ir.Value, extent: _Range) -> str | None:
    if extent.low == extent.high:
        return f"is constant at {extent.low:.6g} in the calibration data"
    pixels = extent.whole and extent.axes == _IMAGE_AXES and _BRIGHT <= extent.high <= np.iinfo(np.uint8).max
    if pixels and not _is_normalized(value):
        return (
            f"holds integers up to {extent.high:.0f} in the calibration data, and the model does not normalize them: "
            "if it was trained on scaled pixels, pass scaled pixels"
        )
    return None


def _is_normalized(value: ir.Value) -> bool:
    """Tell whether the model scales or shifts ``value`` before it computes with it."""
    return any(node.op_type in _NORMALIZES for node, _ in consumers(value, through=_MOVES))
