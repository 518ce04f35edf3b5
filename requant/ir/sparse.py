"""Sparse initializers become dense ones, as ONNX Runtime loads them.

    w[i_k] = v_k, 0 elsewhere        i_k: an index into the flattened tensor, or a row of coordinates

Source: ONNX IR specification, SparseTensorProto.
"""

from collections.abc import Iterator

import numpy as np
import onnx
from numpy.typing import NDArray

from ..errors import SourceError

LARGEST = 2**31
"""Bytes of a dense tensor, which has to fit a protobuf message."""


def make_dense(proto: onnx.ModelProto, name: str) -> None:
    """Replace the sparse initializers of every graph of ``proto`` by dense ones of the same names.

    Raises:
        SourceError: names the first whose indices or size are invalid.
    """
    for graph in _graphs(proto.graph):
        for sparse in graph.sparse_initializer:
            graph.initializer.append(_dense(sparse, name))
        del graph.sparse_initializer[:]


def _graphs(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            for body in (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs):
                yield from _graphs(body)


def _dense(sparse: onnx.SparseTensorProto, name: str) -> onnx.TensorProto:
    label, dims = sparse.values.name, tuple(sparse.dims)
    values, indices = _array(sparse.values, label, name), _array(sparse.indices, label, name)
    if values.ndim != 1 or any(size < 0 for size in dims) or values.itemsize * _product(dims) >= LARGEST:
        raise SourceError(f"{name}: sparse weight {label!r} of shape {list(dims)} has no dense form")
    flat = _flat(indices, dims)
    if flat is None or flat.shape != values.shape or ((flat < 0) | (flat >= _product(dims))).any():
        raise SourceError(f"{name}: sparse weight {label!r} has indices outside of its shape {list(dims)}")
    dense = np.zeros(_product(dims), values.dtype)
    dense[flat] = values
    return onnx.numpy_helper.from_array(dense.reshape(dims), label)


def _flat(indices: NDArray[np.generic], dims: tuple[int, ...]) -> NDArray[np.int64] | None:
    """Flatten ``indices`` [n] or [n, rank], -1 where one is outside; None if they are not indices."""
    if indices.dtype != np.int64 or indices.shape[1:] not in ((), (len(dims),)):
        return None
    positions = indices.astype(np.int64)
    if indices.ndim == 1:
        return positions
    outside = ((positions < 0) | (positions >= np.array(dims))).any(axis=1)
    strides = np.array([_product(dims[axis + 1 :]) for axis in range(len(dims))], np.int64)
    return np.where(outside, -1, positions @ strides)


def _array(tensor: onnx.TensorProto, label: str, name: str) -> NDArray[np.generic]:
    """Read the numbers of a part of a sparse tensor, which may not be external data."""
    if tensor.data_location == onnx.TensorProto.EXTERNAL:
        raise SourceError(f"{name}: sparse weight {label!r} is external data, which is not supported")
    try:
        return onnx.numpy_helper.to_array(tensor)
    except (TypeError, ValueError, KeyError) as error:  # its bytes do not fit its type
        raise SourceError(f"{name}: sparse weight {label!r} is damaged ({error})") from error


def _product(dims: tuple[int, ...]) -> int:
    """Multiply ``dims``, exactly for sizes of any magnitude."""
    total = 1
    for size in dims:
        total *= size
    return total
