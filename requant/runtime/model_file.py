"""A model as a file or bytes that an engine reads, and its fingerprint."""

import hashlib
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import onnx_ir as ir

from ..ir.load import load
from ..ir.save import INLINE_LIMIT, save, to_bytes
from ..ir.validate import stored_tensors


@contextmanager
def readable(model: ir.Model | str | Path) -> Iterator[str | bytes]:
    """Provide a path or serialized bytes, for as long as the context lasts.

    A model in memory is bytes as long as it fits into one protobuf, and beyond that a temporary file.
    """
    if not isinstance(model, ir.Model):
        yield str(model)
    elif sum(tensor.nbytes for tensor in stored_tensors(model)) <= INLINE_LIMIT:
        yield to_bytes(model)
    else:
        with tempfile.TemporaryDirectory() as folder:
            save(model, Path(folder) / "model.onnx")
            yield str(Path(folder) / "model.onnx")


def fingerprint(source: str | bytes) -> str:
    """Hash the graph and all weights, those in external files included; 32 hexadecimal digits.

    Raises:
        SourceError: the file cannot be read.
    """
    digest = hashlib.sha256()
    if isinstance(source, bytes):
        digest.update(source)
    else:
        for path in (Path(source), *_external(source)):
            with path.open("rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()[:32]


def _external(source: str) -> list[Path]:
    tensors = stored_tensors(load(source))
    return sorted({Path(tensor.path) for tensor in tensors if isinstance(tensor, ir.ExternalTensor)})
