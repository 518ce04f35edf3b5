"""Validation of a model from an untrusted source: the location and size of its data, and its structure."""

import os
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import numpy as np
import onnx_ir as ir

from ..errors import SourceError
from .agreement import require_agreement
from .destination import irregular
from .schema import require_schemas
from .structure import require_ends, require_structure

_LONGEST = 1000
"""Characters of a path of external data; systems take 255 a part."""


def validate(model: ir.Model, name: str) -> None:
    """Check every stored tensor's location and size without reading it, then the structure of the graph and its nodes.

    Nodes are sorted where they are not in an order in which they can be computed.

    Raises:
        SourceError: names the node or the tensor, and the problem.
    """
    for tensor in stored_tensors(model):
        if tensor.dtype == ir.DataType.UNDEFINED or any(size < 0 for size in tensor.shape.numpy()):
            raise SourceError(f"{name}: weight {tensor.name!r} has no type or a negative dimension")
        if isinstance(tensor, ir.ExternalTensor):
            _validate_external(tensor, name)
        elif isinstance(tensor, ir.serde.TensorProtoTensor):
            _validate_inline(tensor, name)
        elif isinstance(tensor, ir.StringTensor) and len(tensor.string_data()) != tensor.size:
            raise SourceError(f"{name}: weight {tensor.name!r} does not hold the {tensor.size} strings of its shape")
    require_structure(model, name)
    require_schemas(model, name)
    require_ends(model, name)
    require_agreement(model, name)


def refuse_nan(model: ir.Model, name: str) -> None:
    """Read every floating-point tensor once and refuse NaN, which would poison ranges silently.

    Raises:
        SourceError: names the first tensor that holds a NaN.
    """
    for tensor in stored_tensors(model):
        if tensor.dtype.is_floating_point() and np.isnan(tensor.numpy().astype(np.float32, copy=False)).any():
            raise SourceError(f"{name}: weight {tensor.name!r} holds NaN")


def stored_tensors(model: ir.Model) -> Iterator[ir.TensorProtocol]:
    """Yield every tensor that the model stores: initializers and tensor attributes, in every graph and function."""
    for graph in (*model.graphs(), *chain.from_iterable(f.subgraphs() for f in model.functions.values())):
        for value in graph.initializers.values():
            if value.const_value is not None:
                yield value.const_value
    for nodes in (model.graph.all_nodes(), *(function.all_nodes() for function in model.functions.values())):
        for attribute in chain.from_iterable(node.attributes.values() for node in nodes):
            if attribute.type == ir.AttributeType.TENSOR and not attribute.is_ref():
                yield attribute.value  # as_tensor() raises on a tensor without a type
            elif attribute.type == ir.AttributeType.TENSORS and not attribute.is_ref():
                yield from attribute.value


def stored_bytes(model: ir.Model) -> int:
    """Return the bytes of all stored tensors."""
    return sum(tensor.nbytes for tensor in stored_tensors(model))


def _validate_external(tensor: ir.ExternalTensor, name: str) -> None:
    if "\0" in str(tensor.location) or len(str(tensor.location)) > _LONGEST:
        raise SourceError(f"{name}: weight {tensor.name!r}: {str(tensor.location)[:80]!r}… is not a valid path")
    folder = Path(tensor.base_dir).resolve()
    location = Path(tensor.location)
    path = (folder / location).resolve()
    if not str(tensor.base_dir):
        raise SourceError(
            f"{name}: weight {tensor.name!r} is stored in {str(location)!r}, but a model in memory has no folder: "
            "load the model from its path"
        )
    if location.is_absolute() or not path.is_relative_to(folder):
        raise SourceError(f"{name}: weight {tensor.name!r} is stored outside the model's folder ({location})")
    if kind := irregular(path):
        raise SourceError(f"{name}: weights file {str(location)!r} is {kind} (weight {tensor.name!r})")
    if not os.path.isfile(path):
        raise SourceError(f"{name}: weights file {str(location)!r} is missing (weight {tensor.name!r})")
    start, length = tensor.offset or 0, tensor.nbytes if tensor.length is None else tensor.length
    if length != tensor.nbytes:
        raise SourceError(f"{name}: weight {tensor.name!r} has {length} bytes, but its shape needs {tensor.nbytes}")
    if start < 0 or start + length > path.stat().st_size:
        raise SourceError(
            f"{name}: weights file {str(location)!r} is too short for weight {tensor.name!r} "
            f"({path.stat().st_size} bytes, {start + length} needed)"
        )


def _validate_inline(tensor: ir.serde.TensorProtoTensor, name: str) -> None:
    size = len(tensor.raw.raw_data) if tensor.raw.HasField("raw_data") else _typed_bytes(tensor)
    if size != tensor.nbytes:
        raise SourceError(f"{name}: weight {tensor.name!r} has {size} bytes, but its shape needs {tensor.nbytes}")


def _typed_bytes(tensor: ir.serde.TensorProtoTensor) -> int:
    """Return the length of data stored as numbers, not as raw bytes; 0 when it does not fit the shape."""
    try:
        tensor.numpy()  # raises where the type does not match the field
        return len(tensor.tobytes())
    except (ValueError, TypeError, AssertionError):  # onnx_ir asserts what it assumes
        return 0
