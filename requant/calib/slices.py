"""Feeds from arrays that hold all samples of each input along one axis.

x [32, 8, 64], table [8, 64] for inputs [N, 8, 64] and [8, 64]        32 feeds, each with all of the table
x [32, 8, 64], c [128, 16] for inputs [1, 8, 64] and [4, 16]          32 feeds, each with 4 rows of c
"""

from collections.abc import Iterator, Mapping

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from ..errors import DataError
from ..runtime.feeds import Feed
from .sample_axes import Axes, sample_axes

_ADVICE = "pass a folder of .npz files or an iterable of batches as the model takes them"


def slices(arrays: Feed, model: ir.Model, origin: str) -> Iterator[Feed]:
    """Yield one feed a sample, or of as many samples as the model's fixed batch dimension asks for.

    Samples that do not fill a last batch are left out; the report counts those that were used. An input that is a
    number has one for all samples, or one for each.

    Raises:
        DataError: there are no samples, or inputs differ in their number.
    """
    numbers = {value.name for value in model.graph.inputs if value.shape is not None and len(value.shape) == 0}
    axes = {name: 0 if name in numbers else axis for name, axis in sample_axes(model).items()}
    if axes and all(axis is None for axis in axes.values()):
        raise DataError(
            f"{origin}: the model scans over the first axis of its inputs, so that axis does not hold samples; "
            f"{_ADVICE}"
        )
    along = {name: axes.get(name, 0) if array.ndim else None for name, array in arrays.items()}
    lengths = {name: arrays[name].shape[axis] for name, axis in along.items() if axis is not None}
    if not lengths or min(lengths.values()) == 0:
        raise DataError(f"{origin}: holds no samples")
    steps = _steps(lengths, model, origin)
    along = {name: axis if name in steps else None for name, axis in along.items()}
    batches = min(lengths[name] // step for name, step in steps.items())
    if batches == 0:
        raise DataError(
            f"{origin}: holds {min(lengths.values())} samples, but the model takes {max(steps.values())} at a time"
        )
    for number in range(batches):
        feed = {name: _part(array, along, name, number * steps.get(name, 0), steps) for name, array in arrays.items()}
        yield {name: _number(name, array, origin) if name in numbers else array for name, array in feed.items()}


def fixed_batch(model: ir.Model) -> int:
    """Return the largest first dimension that the model fixes, or 1 where it fixes none."""
    return max(_first_sizes(model).values(), default=1)


def _steps(lengths: Mapping[str, int], model: ir.Model, origin: str) -> dict[str, int]:
    """Return the rows of each input in one feed; inputs that are left out have all of their rows in every feed."""
    if len(set(lengths.values())) == 1:
        return dict.fromkeys(lengths, fixed_batch(model))
    sizes = _first_sizes(model)
    varying = {name: length for name, length in lengths.items() if length != sizes.get(name)}
    if len(set(varying.values())) == 1:
        return dict.fromkeys(varying, max((sizes[name] for name in varying if name in sizes), default=1))
    counts = {length / sizes.get(name, 1) for name, length in lengths.items()}
    if len(counts) == 1:
        return {name: sizes.get(name, 1) for name in lengths}
    raise DataError(f"{origin}: inputs have different numbers of samples ({dict(lengths)}); {_ADVICE}")


def _first_sizes(model: ir.Model) -> dict[str, int]:
    """Return the first dimension of each input where the model fixes it."""
    firsts = {value.name or "": value.shape[0] for value in model.graph.inputs if value.shape}
    return {name: size for name, size in firsts.items() if isinstance(size, int)}


def _part(
    array: NDArray[np.generic], axes: Axes, name: str, start: int, steps: Mapping[str, int]
) -> NDArray[np.generic]:
    axis = axes[name]
    return array if axis is None else array[(slice(None),) * axis + (slice(start, start + steps[name]),)]


def _number(name: str, array: NDArray[np.generic], origin: str) -> NDArray[np.generic]:
    """Return the one number that all samples of a batch share."""
    if array.ndim > 1 or array.size == 0 or (array != array.flat[0]).any():
        raise DataError(f"{origin}: input {name!r} is one number for each batch, but its samples differ")
    return array.reshape(-1)[:1].reshape(())
