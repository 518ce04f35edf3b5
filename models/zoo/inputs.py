"""Seeded inputs for the models of the zoo, by the names and types of their inputs."""

from collections.abc import Sequence

import numpy as np
import onnx

from ..subject import Array, Feed
from .families import VOCABULARY

BATCH, OTHER = 3, 9
"""The sizes of dynamic dimensions: the first of an input, and any other. No export was traced with these."""


def feeds(model: onnx.ModelProto, samples: int = 1, seed: int = 0) -> list[Feed]:
    """So many batches: ids below the vocabulary, masks that end in zeros in some rows, else standard normal."""
    rng = np.random.default_rng(seed)
    weights = {tensor.name for tensor in model.graph.initializer}
    values = [value for value in model.graph.input if value.name not in weights]
    return [{value.name: _draw(rng, value) for value in values} for _ in range(samples)]


def _draw(rng: np.random.Generator, value: onnx.ValueInfoProto) -> Array:
    tensor = value.type.tensor_type
    dtype = onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type)
    shape = [dim.dim_value or (OTHER if axis else BATCH) for axis, dim in enumerate(tensor.shape.dim)]
    return _DRAWS.get(value.name, _normal)(rng, shape).astype(dtype)


def _normal(rng: np.random.Generator, shape: Sequence[int]) -> Array:
    return rng.standard_normal(shape)


def _ids(rng: np.random.Generator, shape: Sequence[int]) -> Array:
    return rng.integers(2, VOCABULARY, shape)


def _mask(rng: np.random.Generator, shape: Sequence[int]) -> Array:
    mask = np.ones(shape, np.int64)
    mask[0, -2:] = mask[-1, -1:] = 0
    return mask


def _positions(rng: np.random.Generator, shape: Sequence[int]) -> Array:
    return np.broadcast_to(np.arange(shape[-1]), shape)


_DRAWS = {"input_ids": _ids, "attention_mask": _mask, "position_ids": _positions}
