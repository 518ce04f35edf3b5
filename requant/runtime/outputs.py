"""Outputs of any kind as numbers: ONNX Runtime returns a sequence as a list, a map as a dictionary, an optional that
holds nothing as None, and text as an array of objects.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Layout: TypeAlias = "tuple[int, ...] | list[Layout] | None"
"""The shape of an array, or those of all that a sequence or a map holds."""


def numbers(output: object) -> NDArray[np.float64]:
    """Flatten all numbers that ``output`` holds into one axis; text has none."""
    parts = [array.astype(np.float64).ravel() for array in arrays(output) if not _is_text(array)]
    return np.concatenate(parts) if parts else np.zeros(0)


def texts(output: object) -> list[str]:
    """List all text that ``output`` holds."""
    return [str(item) for array in arrays(output) if _is_text(array) for item in array.ravel()]


def holds_floats(output: object) -> bool:
    """Tell whether any array of ``output`` is of floating-point numbers."""
    return any(np.issubdtype(array.dtype, np.floating) for array in arrays(output))


def layout(output: object) -> Layout:
    """Describe how the arrays of ``output`` lie; numbers of equal layouts belong together one by one."""
    if output is None:
        return None
    if isinstance(output, Mapping):
        return [layout(output[key]) for key in sorted(output)]
    if isinstance(output, Sequence) and not isinstance(output, str):
        return [layout(item) for item in output]
    return np.shape(np.asarray(output))


def arrays(output: object) -> Iterator[NDArray[np.generic]]:
    """Iterate over the arrays that ``output`` holds; the values of a map in the order of its keys."""
    if isinstance(output, Mapping):
        for key in sorted(output):
            yield from arrays(output[key])
    elif isinstance(output, Sequence) and not isinstance(output, str):
        for item in output:
            yield from arrays(item)
    elif output is not None:
        yield np.asarray(output)


def _is_text(array: NDArray[np.generic]) -> bool:
    return array.dtype.kind in "OSU"
