"""The loss of a transform: the error of its consumers' outputs when data and weights are quantized.

    L(d, t, m) = ( mean over rows x of  (v ‖Q(x') Q(W') - x' W'‖²)² )^½  +  (m² - 1) D  +  E(m)
    v = the geometric mean of 1 / max(‖x W‖², .1 · median) and of its mean, both over rows that compute anything

Each row counts between relative to its own size, since the norm after the block divides a massive token away, and
alike, since where no norm follows the largest rows decide, which are those that clip. The mean is a quadratic one, so
that a transform that is bad for a few rows is not chosen for being good for all other rows: these attend to those few.

E is what clipping costs on other data (`.clipping`): the solver runs once more on the other samples of
each fold, and the samples left out are clipped to the range that it gives. The range may have a margin m over what
calibration has shown; D, the part of the rounding error that the step of the data makes, grows with its square.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...calib.ranges import Interval
from ...calib.statistics import ChannelStatistics
from ...ir.formats import INT8, Format
from ...ir.quantizer import e4m3, largest_code
from ...ir.transform.transform import ChannelTransform
from ..scales import activation_quantizer, in_blocks
from .clipping import MARGINS, Reach, clipping, reach
from .observation import Observation
from .part import Part
from .row_weights import row_weights

Chooser = Callable[[Observation], ChannelTransform]
"""The signature of a solver (`requant.passes.solvers`)."""

_TINY = float(np.finfo(np.float32).tiny)


class Assessment(NamedTuple):
    """The assessment of a solver at a site: its transform, the loss, and the margin of each value's range."""

    transform: ChannelTransform
    loss: float
    margins: tuple[float, ...]


def assess(observation: Observation, solver: Chooser, formats: Sequence[Format] = (INT8,)) -> Assessment:
    """Return the loss of the transform of ``solver``, summed over the values; each takes the best of ``formats``.

    Data get one scale; weights get one for each output channel (for a Conv, each of its taps: a little kinder than the
    engine's) or block. The mean error is left out: the bias takes it off again (`requant.passes.gptq`).
    """
    transform = solver(observation)
    reaches = held_out_reach(observation, solver)
    losses = [
        min(_part_loss(part, transform.at(part.channels), part_reach, fmt) for fmt in formats)
        for part, part_reach in zip(observation.parts, reaches, strict=True)
    ]
    return Assessment(transform, sum(value for value, _ in losses), tuple(margin for _, margin in losses))


def loss(observation: Observation, transform: ChannelTransform, formats: Sequence[Format] = (INT8,)) -> float:
    """Return the loss of a ``transform`` that does not depend on the data."""
    return assess(observation, lambda _: transform, formats).loss


def part_loss(part: Part, fmt: Format) -> tuple[float, float]:
    """Return the loss of one value without a transform, and the margin of its range."""
    identity, channels = ChannelTransform.identity(len(part.channels)), np.arange(len(part.channels))
    observation = Observation(len(channels), (replace(part, channels=channels),), shiftable=False)
    (part_reach,) = held_out_reach(observation, lambda _: identity)
    return _part_loss(part, identity, part_reach, fmt)


def _part_loss(part: Part, transform: ChannelTransform, part_reach: Reach, fmt: Format) -> tuple[float, float]:
    """Return the least loss over all margins, and its margin."""
    stats, scale, shift = part.statistics, transform.scale.astype(np.float32), transform.shift.astype(np.float32)
    weights = _weights(part)
    rows, step = _quantized((stats.rows - shift) / scale, _interval(stats, transform), fmt)
    error = rows @ _rounded(part.matrix * scale[:, None], fmt) + shift @ part.matrix - part.product
    error -= (weights @ error / weights.sum()).astype(np.float32)
    squared = np.square(error).sum(axis=1, dtype=np.float64)
    rounding = float(np.sqrt(np.mean((squared * weights) ** 2)))
    if not step:  # floats reach further than any margin
        return rounding, 1.0
    of_data = min(step**2 / 12 * float(transform.scale**2 @ part.energy) * float(weights.mean()), rounding)
    total = rounding + (MARGINS**2 - 1) * of_data + clipping(part_reach)
    best = int(total.argmin())
    return float(total[best]), float(MARGINS[best])


def held_out_reach(observation: Observation, solver: Chooser) -> list[Reach]:
    """Return, for each value, the reach of the samples outside each fold, by the transform and range of the fold."""
    reaches = [[Reach.nothing()] for _ in observation.parts]
    for fold in observation.folds:
        transform = solver(fold.training)
        for part, training, rows, into in zip(
            observation.parts, fold.training.parts, fold.left_out, reaches, strict=True
        ):
            part_transform, stats = transform.at(part.channels), part.statistics
            low, high = _interval(training.statistics, part_transform)
            size = np.maximum(max(-low, high), _TINY) * part_transform.scale
            ratio = np.abs(stats.rows[rows] - part_transform.shift.astype(np.float32)) / size.astype(np.float32)
            share = (training.statistics.count + 1) / (stats.count + 1) / len(stats.rows)
            into.append(reach(ratio, share * _weights(part)[rows], size**2 * part.energy))
    return [Reach.joined(parts) for parts in reaches]


def _weights(part: Part) -> NDArray[np.float64]:
    """Return v of each sampled row, [R]."""
    relative = row_weights(part.size)
    loud = relative[part.size > 0]
    weights: NDArray[np.float64] = np.sqrt(relative * (loud.mean() if len(loud) else 1.0))
    return weights


def _interval(stats: ChannelStatistics, transform: ChannelTransform) -> Interval:
    low, high = ((bound - transform.shift) / transform.scale for bound in (stats.minimum, stats.maximum))
    return float(low.min()), float(high.max())


def _quantized(rows: NDArray[np.float32], interval: Interval, fmt: Format) -> tuple[NDArray[np.float32], float]:
    """Return ``rows`` after the quantizer of the data, and its step, or 0 where it has no even one."""
    if fmt.activations is None:
        return rows, 0.0
    data = activation_quantizer(interval, fmt)
    even = not fmt.dynamic and not data.dtype.is_floating_point()
    return data.nearest(rows / data.scale) * data.scale, float(data.scale) if even else 0.0


def _rounded(matrix: NDArray[np.float32], fmt: Format) -> NDArray[np.float32]:
    """Return ``matrix`` [K, N] through a quantizer with a scale for each column, or each block of a column's rows."""
    blocks = in_blocks(matrix, fmt.block or len(matrix))
    largest = np.maximum(np.abs(blocks).max(axis=1, keepdims=True), np.float32(_TINY))
    scale = largest / np.float32(largest_code(fmt.weights, fmt.bits))
    codes = e4m3(blocks / scale) if fmt.weights.is_floating_point() else np.round(blocks / scale)
    values: NDArray[np.float32] = (codes * scale).reshape(-1, matrix.shape[1])[: len(matrix)]
    return values
