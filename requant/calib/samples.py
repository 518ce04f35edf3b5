"""Samples that a program yields, as arrays by the names of the model's inputs.

A sample maps names to values, or is a tuple or list of values in the order of the inputs, or is the value of the only
input. A value is a torch tensor on any device, a list of them, or anything that numpy converts to an array.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Protocol, runtime_checkable

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from ..errors import DataError
from ..runtime.feeds import Feed

DATA = "calibration data"
"""The name in messages of data that has no path."""


@runtime_checkable
class Tensor(Protocol):
    """A torch tensor: it may be on a device or require a gradient, so numpy cannot read it directly."""

    def detach(self) -> "Tensor": ...

    def numpy(self, *, force: bool = False) -> NDArray[np.generic]: ...


def feeds(samples: object, model: ir.Model) -> Iterator[Feed]:
    """Yield each of ``samples`` as `named` returns it.

    Raises:
        DataError: they cannot be iterated over, or a value is not an array.
    """
    if not isinstance(samples, Iterable):
        raise DataError(f"{DATA}: a callable must return an iterable of batches, not {kind(samples)}")
    for sample in samples:
        yield named(sample, model)


def named(sample: object, model: ir.Model) -> Feed:
    """Map names to the arrays of ``sample``; names that are not inputs are left out when every input has data.

    Raises:
        DataError: a value is not an array.
    """
    inputs = [value.name or "" for value in model.graph.inputs]
    if not isinstance(sample, Mapping):
        sample = dict(zip(inputs, sample if isinstance(sample, list | tuple) else [sample], strict=False))
    names = inputs if sample.keys() >= set(inputs) else sample
    return {name: _array(sample[name], name) for name in names}


def kind(value: object) -> str:
    """Name the type of ``value`` in messages."""
    return type(value).__name__


def _array(value: object, name: str) -> NDArray[np.generic]:
    try:
        if isinstance(value, Tensor):
            return value.numpy(force=True)
        if isinstance(value, list) and value and isinstance(value[0], Tensor):
            return np.stack([_array(item, name) for item in value])
        return np.asarray(value)
    except (TypeError, ValueError) as error:
        raise DataError(f"{DATA}: input {name!r} is a {kind(value)}, which is not an array ({error})") from error
