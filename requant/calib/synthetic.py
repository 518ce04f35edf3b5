"""Random feeds that fit a model: standard normal floats, small whole numbers, and sizes that belong together.

    past [N, H, P, D], ids [N, S], mask [N, P + S]        N = 1, P = S = 32, and the mask has 64

Dimensions of one name are equal. A dimension that is the sum of two is recognized by its name, such as "past + new",
or found by running the model, since a graph with such a cache runs with no other sizes.
"""

from collections.abc import Iterator, Mapping
from itertools import combinations
from math import prod

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from ..errors import DataError, SourceError
from ..ir.quantized import is_partly_quantized
from ..runtime.feeds import Feed, random_array
from ..runtime.session import runner

LENGTH = 32
"""The size of a dynamic dimension that is not of samples."""

MOST_TRIED = 200
"""Sets of sizes that are tried at most."""

MOST_ELEMENTS = 2**26
"""Elements of one random feed at most: 256 MiB of float32, of which 16 are kept."""

Sizes = Mapping[str, int]
"""The size of each dynamic dimension by its name."""


def synthetic(model: ir.Model, samples: int, seed: int) -> Iterator[Feed]:
    """Make ``samples`` feeds of one sample each, or of as many as the model has fixed.

    Raises:
        DataError: an input is not a tensor of numbers of known rank, the inputs are too large, or no sizes are found
            with which the model runs.
    """
    for value in model.graph.inputs:
        if reason := _unsupported(value):
            raise DataError(f"input {value.name!r} {reason}, so synthetic data cannot be made: pass calibration data")
    sizes = fitting_sizes(model, seed)
    generator = np.random.default_rng(seed)
    for _ in range(samples):
        yield _feed(model, sizes, generator)


def fitting_sizes(model: ir.Model, seed: int = 0) -> Sizes:
    """Find sizes of the dynamic dimensions of ``model`` with which it runs.

    Raises:
        DataError: none of those that are tried run, or they are too large.
    """
    run, failure = runner(model, optimized=not is_partly_quantized(model)), ""
    for sizes in _candidates(model)[:MOST_TRIED]:
        try:
            run(_feed(model, sizes, np.random.default_rng(seed)))
        except SourceError as error:
            failure = failure or str(error)
        else:
            return sizes
    raise DataError(f"random inputs do not fit the model, pass calibration data: {failure}")


def _candidates(model: ir.Model) -> list[Sizes]:
    """List sizes by their names, and then with one more name that is the sum of two, or one of them plus 1."""
    shapes = [_dims(value) for value in model.graph.inputs]
    names = dict.fromkeys(dim for shape in shapes for dim in shape if isinstance(dim, str))
    batch = {name for name in names if all(name not in shape[1:] for shape in shapes)}
    sums = dict(_sums(names))
    independent = [name for name in names if name not in batch and name not in sums]
    sizes = {name: 1 if name in batch else LENGTH for name in names}
    guesses = [
        {**sums, total: parts}
        for total in independent
        for parts in _parts([name for name in independent if name != total])
    ]
    return [_evaluate(sizes, equations) for equations in (sums, *guesses)]


def _parts(names: list[str]) -> Iterator[tuple[str | int, ...]]:
    yield from combinations(names, 2)
    yield from ((name, 1) for name in names)


def _evaluate(sizes: Sizes, sums: Mapping[str, tuple[str | int, ...]]) -> Sizes:
    """Replace those of ``sizes`` that are ``sums``; sums may be of sums."""
    evaluated = dict(sizes)
    for _ in sums:
        for total, parts in sums.items():
            evaluated[total] = sum(part if isinstance(part, int) else evaluated[part] for part in parts)
    return evaluated


def _sums(names: Mapping[str, None]) -> Iterator[tuple[str, tuple[str | int, ...]]]:
    """Find those of ``names`` that are a sum of names, such as "past_sequence_length + 1"."""
    for name in names:
        parts = tuple(int(part) if part.strip().isdigit() else part.strip() for part in name.split("+"))
        if len(parts) > 1 and all(isinstance(part, int) or part in names for part in parts):
            yield name, parts


def _feed(model: ir.Model, sizes: Sizes, generator: np.random.Generator) -> Feed:
    shapes = [_shape(value, sizes) for value in model.graph.inputs]
    if (elements := sum(prod(shape) for shape in shapes)) > MOST_ELEMENTS:
        raise DataError(
            f"random inputs would have {elements} elements a sample, more than the {MOST_ELEMENTS} allowed: "
            "pass calibration data, or give the model a smaller batch"
        )
    inputs = zip(model.graph.inputs, shapes, strict=True)
    return {value.name or "": _random(value, shape, generator) for value, shape in inputs}


def _shape(value: ir.Value, sizes: Sizes) -> list[int]:
    return [
        dim if isinstance(dim, int) else 1 if dim is None and axis == 0 else sizes.get(str(dim), LENGTH)
        for axis, dim in enumerate(_dims(value))
    ]


def _random(value: ir.Value, shape: list[int], generator: np.random.Generator) -> NDArray[np.generic]:
    assert value.dtype is not None
    return random_array(value.dtype, shape, generator)


def _dims(value: ir.Value) -> list[int | str | None]:
    return [] if value.shape is None else [dim if isinstance(dim, int) else dim.value for dim in value.shape]


def _unsupported(value: ir.Value) -> str | None:
    """Give the reason for which no random array fits the input ``value``; None where one does."""
    if value.type is not None and not isinstance(value.type, ir.TensorType):
        return "is not a tensor"
    if value.shape is None or value.dtype is None:
        return "has no known shape or type"
    return "holds text" if value.dtype == ir.DataType.STRING else None
