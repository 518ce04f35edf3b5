"""Save a model so that it appears whole or not at all."""

import os
import tempfile
from pathlib import Path

import onnx_ir as ir

from ..errors import OutputError
from .validate import stored_tensors

INLINE_LIMIT = 1_900_000_000
"""Bytes of weights above which they go to a file of their own: protobuf takes 2 GiB in all."""


def save(model: ir.Model, path: str | os.PathLike[str]) -> None:
    """Write ``model`` to ``path``; weights beyond protobuf's limit go to ``path`` + ``.data``.

    The files are written beside their destination and renamed at the end.

    Raises:
        OutputError: the folder does not exist or cannot be written.
    """
    destination = Path(path)
    require_writable(destination)
    try:
        with tempfile.TemporaryDirectory(dir=destination.parent, prefix=".requant.") as folder:
            _write(model, Path(folder) / destination.name)
            for file in sorted(Path(folder).iterdir(), reverse=True):  # the data before the graph that needs it
                os.replace(file, destination.parent / file.name)
    except OSError as error:
        raise OutputError(f"{destination}: cannot be written ({error.strerror})") from error


def _write(model: ir.Model, path: Path) -> None:
    external = sum(tensor.nbytes for tensor in stored_tensors(model)) > INLINE_LIMIT
    if external:
        ir.save(model, path, external_data=f"{path.name}.data")
    else:
        ir.save(_in_memory(model), path)


def require_writable(destination: Path) -> None:
    """Raise OutputError when a file cannot be created at ``destination``, before any work is done for it."""
    if not os.path.isdir(destination.parent):
        raise OutputError(f"{destination}: the folder {destination.parent} does not exist")
    if os.path.isdir(destination):  # Path.is_dir() raises on a name that is too long
        raise OutputError(f"{destination}: is a folder")
    if not os.access(destination.parent, os.W_OK):
        raise OutputError(f"{destination}: the folder {destination.parent} is not writable")


def to_bytes(model: ir.Model) -> bytes:
    """``model`` serialized in one piece; the caller knows that it fits in memory and under 2 GiB."""
    data: bytes = ir.to_proto(_in_memory(model)).SerializeToString(deterministic=True)
    return data


def _in_memory(model: ir.Model) -> ir.Model:
    return ir.external_data.load_to_model(model.clone())
