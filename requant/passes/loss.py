"""What a basis costs: the error that its readers make when data and weights are quantized.

    L(d, t) = ( mean over rows x of  (‖Q(x') Q(W') - x' W'‖² / ‖x W‖²)² )^½
            +  mean over rows x of  1/n Σ_c (κ_c r_c - A d_c)₊² ‖w_c‖² / ‖x W‖²

Each row counts relative to its own size: the norm after the block divides a massive token away, and a plain sum of
squares would see nothing else. The mean is a quadratic one, so that a basis that is bad for a few rows is not chosen
for being good for all others: what those few tokens hold is what the rest attend to.

The second term is what clipping will cost on data that nobody has seen. A basis that gives every channel exactly the
range A of the quantizer is best on the calibration data and clips everywhere else; one that leaves most channels some
room loses little. In each channel, data that nobody has seen are taken to reach as much further than the n rows of
calibration data as those reach further than a few of them (κ_c), and to do so once in n rows.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ..calib.ranges import Interval
from ..calib.statistics import ChannelStatistics
from ..ir.rewrite.basis import Basis
from ..runtime.formats import INT8, Format
from .observation import Observation, Part
from .quantizer import e4m3, largest_code
from .scales import activation_quantizer, in_blocks

FARTHEST = 2.0
"""Upper bound of κ: a channel that is almost always silent says little about how far it may reach."""

IDLE = 0.1
"""A row that computes less than this share of the median row counts as if it computed so much."""

_TINY = float(np.finfo(np.float32).tiny)


def loss(observation: Observation, basis: Basis, formats: Sequence[Format] = (INT8,)) -> float:
    """Quadratic mean of the relative squared errors of the readers' outputs under ``basis``, and the clipping to come.

    Of several ``formats`` each value takes the best. Data get one scale from the exact range; weights get one for each
    output channel (for a Conv, each of its taps: a little kinder than the engine's) or block. The mean error is left
    out: the bias takes it off again (`requant.passes.round_weights`).
    """
    parts = ((part, basis.at(part.channels)) for part in observation.parts)
    return sum(min(part_loss(part, chosen, own) for chosen in formats) for part, own in parts)


def part_loss(part: Part, chosen: Format, basis: Basis | None = None) -> float:
    """What one value and its readers contribute, as it is or under ``basis``."""
    basis = basis or Basis.identity(len(part.channels))
    seen, scale, shift = part.statistics, basis.scale.astype(np.float32), basis.shift.astype(np.float32)
    low, high = ((bound - basis.shift) / basis.scale for bound in (seen.minimum, seen.maximum))
    rows, farthest = _coded((seen.rows - shift) / scale, (float(low.min()), float(high.max())), chosen)
    error = rows @ _rounded(part.matrix * scale[:, None], chosen) + shift @ part.matrix - part.product
    reference = np.square(part.product).sum(axis=1, dtype=np.float64)
    reference = np.maximum(reference, max(IDLE * float(np.median(reference)), _TINY))
    error -= ((1 / reference) @ error / (1 / reference).sum()).astype(np.float32)
    squared = np.square(error).sum(axis=1, dtype=np.float64)
    beyond = np.maximum(_unseen_reach(seen, basis) - farthest * basis.scale, 0.0)
    clipped = float(beyond**2 @ np.square(part.matrix).sum(axis=1, dtype=np.float64)) / seen.count
    return float(np.sqrt(np.mean((squared / reference) ** 2))) + clipped * float(np.mean(1 / reference))


def _coded(rows: NDArray[np.float32], interval: Interval, chosen: Format) -> tuple[NDArray[np.float32], float]:
    """``rows`` as the quantizer of the data leaves them, and how far it reaches."""
    if chosen.activations is None:
        return rows, np.inf
    planned = activation_quantizer(interval, chosen)
    reach = largest_code(planned.dtype, chosen.bits) + (not planned.dtype.is_floating_point())
    return planned.nearest(rows / planned.scale) * planned.scale, float(planned.scale) * reach


def _unseen_reach(seen: ChannelStatistics, basis: Basis) -> NDArray[np.float64]:
    """κ r of each channel: as much further than the data as those went beyond a quarter of the sampled rows."""
    reach = np.maximum(seen.maximum - basis.shift, basis.shift - seen.minimum)
    few = np.abs(seen.rows[: max(len(seen.rows) // 4, 1)] - basis.shift).max(axis=0)
    further: NDArray[np.float64] = np.clip(reach / np.maximum(few, _TINY), 1.0, FARTHEST) * reach
    return further


def _rounded(matrix: NDArray[np.float32], chosen: Format) -> NDArray[np.float32]:
    """``matrix`` [K, N] through a quantizer with a scale for each column, or for each block of a column's rows."""
    blocks = in_blocks(matrix, chosen.block or len(matrix))
    largest = np.maximum(np.abs(blocks).max(axis=1, keepdims=True), np.float32(_TINY))
    scale = largest / np.float32(largest_code(chosen.weights, chosen.bits))
    codes = e4m3(blocks / scale) if chosen.weights.is_floating_point() else np.round(blocks / scale)
    rounded: NDArray[np.float32] = (codes * scale).reshape(-1, matrix.shape[1])[: len(matrix)]
    return rounded
