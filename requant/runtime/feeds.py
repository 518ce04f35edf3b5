"""Data in the types that a model takes, and functions that run a model on them."""

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

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


def is_floating(array: object) -> bool:
    """Tell whether ``array`` holds floats, also bfloat16, none of numpy's own types; a sequence or None is no array."""
    if not isinstance(array, np.ndarray):
        return False
    return np.issubdtype(array.dtype, np.floating) or array.dtype == ir.DataType.BFLOAT16.numpy()
