"""Notes on calibration data that is valid and still no good: all 0, constant, of one sample, or of another scale."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from ..runtime.feeds import Feed

_NORMALIZES = ("Sub", "Add", "Mul", "Div", "BatchNormalization", "InstanceNormalization", "Cast", "LayerNormalization")
_MOVES = ("Transpose", "Reshape", "Pad", "Resize", "Unsqueeze", "Squeeze", "Identity", "Slice")
_IMAGE_AXES, _BRIGHT = 4, 128


@dataclass
class _Range:
    """What was seen of one input: its extremes, and whether all of it was whole numbers, as pixels are."""

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
    """Watches calibration data on its way, and says afterwards what its ranges cannot be trusted for.

    Of constants only floating-point inputs of several elements are told: integers, such as masks and token types, and
    single numbers, such as a rate, are the same in many a good data set.
    """

    model: ir.Model
    _ranges: dict[str, _Range] = field(default_factory=dict)
    _first: dict[str, NDArray[np.generic]] = field(default_factory=dict)
    _differing: bool = False

    def watch(self, feeds: Iterable[Feed]) -> Iterator[Feed]:
        """Iterate over ``feeds`` and note what they hold."""
        for feed in feeds:
            self._differing = self._differing or self._differs(feed)
            for name, data in feed.items():
                if np.issubdtype(data.dtype, np.floating) and data.ndim and data.size > len(data):
                    self._ranges.setdefault(name, _Range()).add(data)
            yield feed

    def lines(self, samples: int) -> list[str]:
        """List one line for each fault of the ``samples`` that were watched."""
        found = []
        if samples == 1:
            found.append("calibration holds a single sample: ranges of one sample rarely hold for others")
        elif samples > 1 and not self._differing:
            found.append(f"all {samples} calibration samples are equal: they say no more than one")
        for value in self.model.graph.inputs:
            seen = self._ranges.get(value.name or "")
            if seen is not None and (fault := _fault(value, seen)):
                found.append(f"input {value.name!r} {fault}")
        return found

    def _differs(self, feed: Feed) -> bool:
        """Tell whether any sample in ``feed`` differs from the first of all."""
        if not self._first:
            self._first.update({name: np.atleast_1d(data)[:1].copy() for name, data in feed.items()})
        return any(
            np.atleast_1d(data).shape[1:] != self._first[name].shape[1:] or bool((data != self._first[name]).any())
            for name, data in feed.items()
        )


def _fault(value: ir.Value, seen: _Range) -> str:
    if seen.low == seen.high:
        return f"is {seen.low:.6g} in all of calibration"
    pixels = seen.whole and seen.axes == _IMAGE_AXES and _BRIGHT <= seen.high <= np.iinfo(np.uint8).max
    if pixels and not _normalized(value):
        return (
            f"holds whole numbers up to {seen.high:.0f} in calibration and the model does not normalize them: "
            "if it was trained on scaled pixels, calibrate with those"
        )
    return ""


def _normalized(value: ir.Value) -> bool:
    """Tell whether the model scales or shifts ``value`` before it computes with it."""
    uses = [use.node for use in value.uses()]
    moved = (output for node in uses if node.op_type in _MOVES for output in node.outputs)
    return any(node.op_type in _NORMALIZES for node in uses) or any(map(_normalized, moved))
