"""Data in the types that a model takes."""

from collections.abc import Mapping

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

Feed = Mapping[str, NDArray[np.generic]]
"""One batch: an array for each input of the model, with the samples along the first dimension."""


def fitted(feed: Feed, model: ir.Model) -> Feed:
    """``feed`` with its floats as wide as those that ``model`` takes, so that float32 data serve a float16 model."""
    taken = ((value.name, value.dtype) for value in model.graph.inputs)
    floats = {name: dtype.numpy() for name, dtype in taken if dtype is not None and dtype.is_floating_point()}
    return {
        name: array.astype(floats[name], copy=False)
        if name in floats and np.issubdtype(array.dtype, np.floating)
        else array
        for name, array in feed.items()
    }
