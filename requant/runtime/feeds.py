"""Data in the types that a model takes."""

from collections.abc import Mapping

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

Feed = Mapping[str, NDArray[np.generic]]
"""One batch: an array for each input of the model, with the samples along the first dimension."""


def fitted(feed: Feed, model: ir.Model) -> Feed:
    """``feed`` with its floats as wide as the inputs of ``model`` are, so that float32 data serve a float16 model."""
    wanted = {value.name: value.dtype.numpy() for value in model.graph.inputs if value.dtype is not None}
    return {
        name: array.astype(wanted[name], copy=False) if name in wanted and array.dtype.kind == "f" else array
        for name, array in feed.items()
    }
