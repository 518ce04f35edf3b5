"""Ranges chosen for what reads them: the least error of f(Q(x)), where f is the activation that reads x.

    low = argmin Σ ((f(d Q(x)) - f(d x)) / d)²        over 0 ≥ low ≥ min x; the top is never cut; d: scales of channels
    max x + (max x - max of the group of samples that comes next)

SiLU and HardSwish make next to nothing of what is far below 0, where the outputs of Convs reach: a range that leaves it
out has finer steps for what counts.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray
from scipy.special import expit

from ...calib.ranges import Interval
from ...calib.statistics import ChannelStatistics
from ...ir.kernels import Kernel
from ...ir.ops import SIZES, is_op
from ...ir.quantizer import Quantizer
from ...ir.scaled_hard_swish import as_scaled_hard_swish

Function = Callable[[NDArray[np.float64]], NDArray[np.float64]]

_LOWS = (-1.0, -1.5, -2.0, -2.5, -3.0, -4.0, -5.0, -6.0, -8.0, -10.0, -12.0)
"""The ends to try below 0; where the data end before them, they end with the data."""

_MOST = 0.25
"""The most that a range is extended by, as a share of its end."""

_ELEMENTS = 2**16
"""The most elements that errors are computed on."""


def _silu(x: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(x * expit(x))


def _sigmoid(x: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(expit(x))


def _hard_swish(x: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(x * np.clip(x / 6 + 0.5, 0, 1))


def _identity(x: NDArray[np.float64]) -> NDArray[np.float64]:
    return x


_FUNCTIONS: dict[str, Function] = {"Silu": _silu, "Sigmoid": _sigmoid, "HardSwish": _hard_swish}
"""The activations that are flat below 0, by the kind of their kernel."""


@dataclass(frozen=True)
class Reading:
    """What reads a value x: f(d x) / d, where ``scales`` d has an entry for each channel, or one for all."""

    function: Function = _identity
    scales: NDArray[np.float64] = field(default_factory=lambda: np.ones(1))

    def __call__(self, x: NDArray[np.float64]) -> NDArray[np.float64]:
        return self.function(x * self.scales) / self.scales

    @property
    def is_identity(self) -> bool:
        """True where the value is read as it is."""
        return self.function is _identity


def reading(values: Sequence[ir.Value], consumers: Iterable[Kernel]) -> Reading:
    """Return what the ``consumers`` make of ``values``: an activation where it alone reads them, else themselves.

    What only moves the values on does not count.
    """
    readers = list(consumers)
    nodes = {node for kernel in readers for node in kernel.nodes}
    functions = {kernel.kind: kernel for kernel in readers if not kernel.moves}
    uses = [use.node for value in values for use in value.uses() if not is_op(use.node, SIZES)]
    others = not nodes.issuperset(uses) or any(value.is_graph_output() for value in values)
    if others or len(functions) != 1:
        return Reading()
    ((kind, kernel),) = functions.items()
    return Reading(_FUNCTIONS.get(kind, _identity), scales(kernel))


def scales(kernel: Kernel) -> NDArray[np.float64]:
    """Return by what ``kernel`` scales the channels of its data back, [C]; [1] where nothing is scaled."""
    scaled = as_scaled_hard_swish(kernel.nodes[0])
    return np.ones(1) if scaled is None else scaled.scales.ravel()


def interval(statistics: ChannelStatistics, read_as: Reading) -> Interval:
    """Choose the interval of a value that is ``read_as`` a function of it."""
    low, high = extended(statistics)
    candidates = {max(low, end / float(read_as.scales.max())) for end in _LOWS} | {low}
    if read_as.is_identity or low >= 0:
        return low, high
    x = sample(statistics)
    exact = read_as(x)
    errors = {end: np.square(read_as(rounded(x, quantizer((end, high)))) - exact).sum() for end in candidates}
    return min(errors, key=lambda end: (errors[end], end)), high


def extended(statistics: ChannelStatistics) -> Interval:
    """Extend the range of the samples by as far as the outermost group of them reaches beyond the next one.

    Other data reach beyond the range too: for tails that fall exponentially the mean excess is that distance. Bounds
    that several groups reach, such as those of a Relu or a Clip, stay.
    """
    is_present = statistics.counts > 0
    highs = np.sort(statistics.highest[is_present].max(axis=1))
    lows = -np.sort(-statistics.lowest[is_present].min(axis=1))
    return _beyond(lows, statistics.minimum.min()), _beyond(highs, statistics.maximum.max())


def _beyond(ends: NDArray[np.float64], end: float) -> float:
    """Return the ``end`` of a range moved away from the last but one of ``ends``, by a quarter of itself at most."""
    distance = float(end - ends[-2]) if len(ends) > 1 else 0.0
    return float(end) + float(np.clip(distance, -_MOST * abs(end), _MOST * abs(end)))


def quantizer(covered: Interval, dtype: ir.DataType = ir.DataType.UINT8) -> Quantizer:
    """Return the asymmetric quantizer of least scale that covers 0 and the interval."""
    return Quantizer(np.asarray(1, np.float32), interval=covered).with_zero_point(dtype)


def rounded(x: NDArray[np.float64], plan: Quantizer) -> NDArray[np.float64]:
    """Quantize and dequantize."""
    return plan.decode(plan.encode(x))


def sample(statistics: ChannelStatistics) -> NDArray[np.float64]:
    """Return some of the sampled rows, [R, C]."""
    rows = statistics.rows
    return rows[:: -(-rows.size // _ELEMENTS)].astype(np.float64)
