"""Saving of a model, which appears whole or not at all."""

import os
from pathlib import Path

import onnx_ir as ir

from .destination import appearing, require_writable
from .validate import stored_tensors

INLINE_LIMIT = 1_900_000_000
"""Bytes of weights above which they go to a file of their own: protobuf takes 2 GiB in all."""


def save(model: ir.Model, path: str | os.PathLike[str]) -> None:
    """Write ``model`` to ``path``; weights beyond protobuf's limit go to ``path`` + ``.data``.

    The files are written beside their destination and renamed at the end. A symbolic link is followed.

    Raises:
        OutputError: the folder does not exist or cannot be written, or ``path`` exists and is not a regular file.
    """
    destination = Path(path)
    if _is_large(model):
        require_writable(data_beside(destination))
    with appearing(destination) as temporary:
        _write(model, temporary)


def data_beside(destination: Path) -> Path:
    """Return the path of the external data of a model at ``destination``, where its weights do not fit into it."""
    return Path(f"{destination}.data")


def to_bytes(model: ir.Model) -> bytes:
    """Serialize ``model`` in one piece; the caller ensures that it fits in memory and under 2 GiB."""
    data: bytes = ir.to_proto(_in_memory(model)).SerializeToString(deterministic=True)
    return data


def _is_large(model: ir.Model) -> bool:
    return sum(tensor.nbytes for tensor in stored_tensors(model)) > INLINE_LIMIT


def _write(model: ir.Model, path: Path) -> None:
    if _is_large(model):
        ir.save(model, path, external_data=data_beside(path).name)
    else:
        ir.save(_in_memory(model), path)


def _in_memory(model: ir.Model) -> ir.Model:
    return ir.external_data.load_to_model(model.clone())
