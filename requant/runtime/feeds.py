"""Data in the types that a model takes, and functions that run a model on them."""

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from ..errors import TargetError

Feed = Mapping[str, NDArray[np.generic]]
"""One batch: an array for each input of the model, with the samples along the first dimension."""

Run = Callable[[Feed], list[NDArray[np.generic]]]
"""Runs a model on one feed and returns its outputs."""


class Runner(Protocol):
    """A function that loads a model into an engine, to run it and to return the graph outputs called ``names``."""

    def __call__(self, model: ir.Model, names: Sequence[str], *, threads: int = 0) -> Run: ...


def fitted(feed: Feed, model: ir.Model) -> Feed:
    """Cast the floats of ``feed`` to the types that ``model`` takes, so that float32 data serve a float16 model."""
    dtypes = ((value.name, value.dtype) for value in model.graph.inputs)
    floats = {name: dtype.numpy() for name, dtype in dtypes if dtype is not None and dtype.is_floating_point()}
    return {
        name: array.astype(floats[name], copy=False) if name in floats and is_floating(array) else array
        for name, array in feed.items()
    }


def random_feed(model: ir.Model, shapes: Mapping[str, Sequence[int]]) -> Feed:
    """Make a feed that is the same each time: standard normal floats, and whole numbers that are 0 or 1.

    ``shapes`` has those of dynamic inputs by name.

    Raises:
        TargetError: an input is not a tensor of numbers.
    """
    generator, feed = np.random.default_rng(0), dict[str, NDArray[np.generic]]()
    for value in model.graph.inputs:
        name, dtype = value.name or "", value.dtype
        if dtype is None or dtype == ir.DataType.STRING or not isinstance(value.type, ir.TensorType):
            raise TargetError(
                f"input {name!r} is not a tensor of numbers, so that there are no data to run the model on"
            )
        dims = shapes[name] if name in shapes else tuple(value.shape or ())
        feed[name] = random_array(dtype, [dim for dim in dims if isinstance(dim, int)], generator)
    return feed


def random_array(dtype: ir.DataType, shape: Sequence[int], generator: np.random.Generator) -> NDArray[np.generic]:
    """Draw standard normal floats, or whole numbers that are 0 or 1, which any model takes for indices and masks."""
    if dtype.is_floating_point():
        return np.asarray(generator.standard_normal(shape)).astype(dtype.numpy())
    return np.asarray(generator.integers(0, 2, shape)).astype(dtype.numpy())


def is_floating(array: object) -> bool:
    """Tell whether ``array`` holds floats, also bfloat16, none of numpy's own types; a sequence or None is no array."""
    if not isinstance(array, np.ndarray):
        return False
    return np.issubdtype(array.dtype, np.floating) or array.dtype == ir.DataType.BFLOAT16.numpy()
