"""Data sources: files, mappings, iterables and callables become feeds that fit the model.

An `.npz`, or a mapping in memory, holds an array for each input with the samples along the first dimension; an `.npy`
does for a model of one input. A folder holds such files, each a batch of its own shape. An iterable, such as a torch
DataLoader, yields batches, and a callable returns an iterable. A datasets.Dataset is read in batches that the model
takes.

Every input needs data. Data from a program may hold more, such as labels: columns that are not inputs, and items of a
tuple beyond the inputs, are left out. A file belongs to a model, so there an unknown name is an error.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from ..errors import DataError
from ..ir.float_types import DOUBLE, file_types
from ..runtime.feeds import Feed
from .files import data_files, read_arrays, require_data
from .samples import DATA, feeds, kind, named
from .slices import fixed_batch, slices
from .synthetic import synthetic


@runtime_checkable
class Table(Protocol):
    """A datasets.Dataset or IterableDataset: rows of named columns, read in batches."""

    def iter(self, batch_size: int, drop_last_batch: bool = False) -> Iterator[Mapping[str, object]]: ...


Data = str | os.PathLike[str] | Mapping[str, object] | Table | Iterable[object] | Callable[[], Iterable[object]]
"""The sources that `batches` reads; the items of an iterable are recognized by their type."""


RANDOM = "not measured: random inputs say nothing about the accuracy; pass real samples for that"
"""The message in place of a distance on `Batches` that are random."""


@dataclass(frozen=True)
class Batches:
    """The validated feeds for a model, with their origin as the report names it.

    ``missing`` is the reason for having none; ``random`` marks inputs on which no accuracy can be measured.
    """

    feeds: tuple[Feed, ...] | Callable[[], Iterator[Feed]]
    origin: str
    missing: str = ""
    random: bool = False

    def __iter__(self) -> Iterator[Feed]:
        return iter(self.feeds) if isinstance(self.feeds, tuple) else self.feeds()


def batches(data: Data | None, model: ir.Model, *, samples: int = 16, seed: int = 0) -> Batches:
    """Read feeds from ``data`` that fit the inputs of ``model``, checked as they are read.

    Args:
        data: an `.npz`, an `.npy` for a model of one input, a folder of them, a mapping of all samples, a
            datasets.Dataset, an iterable of batches, or a callable that returns one. A batch maps names to arrays or
            tensors, or is a tuple in the order of the inputs, or is the only input. An iterable is read once and kept;
            a callable is called for each pass. None makes ``samples`` synthetic feeds from ``seed``.
        model: its graph inputs define the valid names, types and dimensions.

    Raises:
        DataError: names the input and what is wrong with its name, type, rank, dimension or values.
    """
    if data is None:
        return Batches(tuple(synthetic(model, samples, seed)), f"synthetic (seed {seed})", random=True)
    if isinstance(data, str | os.PathLike):
        path = Path(data)
        return Batches(lambda: _validated(_from_path(path, model), model, str(path)), path.name or str(path))
    if isinstance(data, Table):
        return Batches(lambda: _validated(_from_table(data, model), model, DATA), "dataset")
    if isinstance(data, Mapping):
        columns = named(data, model)
        return Batches(lambda: _validated(slices(columns, model, DATA), model, DATA), "mapping")
    if callable(data):
        return Batches(lambda: _validated(feeds(data(), model), model, DATA), "callable")
    if isinstance(data, Iterable):
        return Batches(tuple(_validated(feeds(data, model), model, DATA)), "iterable")
    raise DataError(f"{DATA} must be a path, a mapping, an iterable of batches or a callable, not {kind(data)}")


def _from_table(table: Table, model: ir.Model) -> Iterator[Feed]:
    """Yield one row at a time, since rows may differ in length, or as many as the model's fixed batch dimension."""
    return feeds(table.iter(batch_size=fixed_batch(model), drop_last_batch=True), model)


def _from_path(path: Path, model: ir.Model) -> Iterator[Feed]:
    require_data(path)
    inputs = [value.name or "" for value in model.graph.inputs]
    if os.path.isdir(path):
        for file in data_files(path):
            yield read_arrays(file, inputs)
    else:
        yield from slices(read_arrays(path, inputs), model, str(path))


def _validated(feeds: Iterable[Feed], model: ir.Model, origin: str) -> Iterator[Feed]:
    """Yield those of ``feeds`` that hold samples, each as the model takes it."""
    count = 0
    for feed in feeds:
        matched = _matched(feed, model, origin)
        if not matched or any(array.shape[:1] != (0,) for array in matched.values()):
            yield matched
            count += 1
    if count == 0:
        raise DataError(f"{origin}: holds no samples")


def _matched(feed: Feed, model: ir.Model, origin: str) -> Feed:
    inputs = {value.name or "": value for value in model.graph.inputs}
    surplus, missing = sorted(feed.keys() - inputs.keys()), sorted(inputs.keys() - feed.keys())
    if surplus or missing:
        raise DataError(
            f"{origin}: the model's inputs are {sorted(inputs)}"
            + (f"; missing {missing}" if missing else "")
            + (f"; unknown {surplus}" if surplus else "")
        )
    types = file_types(model.graph)
    doubles = {name for name, dtype in types.interface.items() if dtype in DOUBLE} if types is not None else set()
    dtypes = {name: ir.DataType.DOUBLE if name in doubles else value.dtype for name, value in inputs.items()}
    return {name: _fit(feed[name], value, dtypes[name], origin) for name, value in inputs.items()}


def _fit(array: NDArray[np.generic], value: ir.Value, dtype: ir.DataType | None, origin: str) -> NDArray[np.generic]:
    """Return ``array`` in ``dtype``: that of the input ``value``, or float64 where the file of the model has it."""
    if value.type is not None and not isinstance(value.type, ir.TensorType):
        raise DataError(f"{origin}: input {value.name!r} is not a tensor, and calibration data can only hold tensors")
    taken = dtype.numpy() if dtype is not None else array.dtype
    if not np.can_cast(array.dtype, taken, "same_kind"):
        raise DataError(f"{origin}: input {value.name!r} is {array.dtype}, but the model takes {taken}")
    shape = list(value.shape) if value.shape is not None else list(array.shape)
    if array.ndim != len(shape):
        raise DataError(f"{origin}: input {value.name!r} has {array.ndim} dimensions, but the model takes {len(shape)}")
    for axis, (size, dim) in enumerate(zip(array.shape, shape, strict=True)):
        if isinstance(dim, int) and size != dim:
            raise DataError(
                f"{origin}: input {value.name!r} has size {size} along axis {axis}, but the model takes {dim}"
            )
    if np.issubdtype(array.dtype, np.floating) and np.isnan(array).any():
        raise DataError(f"{origin}: input {value.name!r} holds NaN")
    return np.asarray(array, taken, order="C")
