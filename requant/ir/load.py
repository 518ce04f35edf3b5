"""Loading of models from any source, without modifying it and without reading its weights."""

import os
from itertools import chain
from pathlib import Path
from typing import Protocol, runtime_checkable

import onnx
import onnx_ir as ir
from google.protobuf.message import DecodeError

from ..errors import SourceError
from .collector import paused_collector
from .destination import irregular
from .ownership import own_tensors
from .silence import quiet
from .sparse import make_dense
from .validate import stored_tensors, validate


@runtime_checkable
class Exported(Protocol):
    """The result of ``torch.onnx.export(..., dynamo=True)``: an object that carries its IR model."""

    @property
    def model(self) -> ir.Model: ...


Source = str | os.PathLike[str] | bytes | onnx.ModelProto | ir.Model | Exported


LARGEST = 2**31
"""Bytes that a protobuf message cannot hold."""


_ANNOTATION = "requant."
"""The beginning of the keys of annotations."""


@paused_collector()
def load(source: Source) -> ir.Model:
    """Load a private copy of the model in ``source``; its weights are read when they are first used.

    Args:
        source: a path, serialized bytes, an ``onnx.ModelProto``, an ``onnx_ir.Model`` or a
            ``torch.onnx.ONNXProgram``. It is never modified.

    Raises:
        SourceError: the file is missing or damaged, or its external data is missing, too short or
            outside the model's folder.
    """
    model = _read(source)
    if len(model.graph) == 0 and not model.graph.outputs:
        raise SourceError(f"{describe(source)}: not an ONNX model (it has no graph)")
    validate(model, describe(source))
    _forget_negative_sizes(model)
    if not isinstance(source, str | os.PathLike | bytes | onnx.ModelProto):
        own_tensors(model)
        _forget_annotations(model)
    return model


def describe(source: Source) -> str:
    """Name ``source`` in messages: by its path, or by its type."""
    return os.fspath(source) if isinstance(source, str | os.PathLike) else f"<{type(source).__name__}>"


def _read(source: Source) -> ir.Model:
    if isinstance(source, ir.Model):
        return source.clone()
    if isinstance(source, onnx.ModelProto):
        private = onnx.ModelProto()
        private.CopyFrom(source)  # onnx_ir writes tensor names through to the proto
        return _from_proto(private, describe(source))
    if isinstance(source, bytes):
        return _from_proto(_parse(source, describe(source)), describe(source))
    if isinstance(source, str | os.PathLike):
        return _from_file(Path(source))
    if isinstance(source, Exported) and isinstance(source.model, ir.Model):
        return source.model.clone()
    raise SourceError(f"cannot load a model from {type(source).__name__}")


def _from_file(path: Path) -> ir.Model:
    if kind := irregular(path):
        raise SourceError(f"{path}: is {kind}, not an ONNX file")
    try:
        if path.stat().st_size >= LARGEST:
            raise SourceError(f"{path}: not an ONNX model (larger than 2 GiB, the limit of a protobuf message)")
        data = path.read_bytes()
    except FileNotFoundError:
        raise SourceError(f"{path}: no such file") from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        raise SourceError(f"{str(path)!r}: cannot be read ({getattr(error, 'strerror', None) or error})") from error
    model = _from_proto(_parse(data, str(path)), str(path))
    for tensor in stored_tensors(model):
        if isinstance(tensor, ir.ExternalTensor):
            tensor.base_dir = path.parent.resolve()
    return model


def _parse(data: bytes, name: str) -> onnx.ModelProto:
    try:
        return onnx.load_model_from_string(data)
    except DecodeError as error:
        raise SourceError(f"{name}: not an ONNX model, or a truncated one ({error})") from error


def _from_proto(proto: onnx.ModelProto, name: str) -> ir.Model:
    make_dense(proto, name)
    try:
        for opset in proto.opset_import:
            opset.domain = "" if opset.domain == "ai.onnx" else opset.domain  # two names of one domain
        with quiet("onnx_ir"):  # what it warns of is refused by `validate`
            return ir.from_proto(proto)
    except Exception as error:  # damaged bytes raise errors of any type
        raise SourceError(f"{name}: damaged ONNX model ({reason(error)})") from error


def _forget_annotations(model: ir.Model) -> None:
    """Drop what passes left on a model in memory that is an artifact: another run plans anew."""
    values = ir.convenience.create_value_mapping(model.graph).values()
    nodes = (node.meta for node in model.graph.all_nodes())
    for store in chain((model.meta, model.graph.meta), nodes, (value.meta for value in values)):
        for key in [key for key in store if key.startswith(_ANNOTATION)]:
            del store[key]


def _forget_negative_sizes(model: ir.Model) -> None:
    """Make sizes below 0 unknown: some exporters write them for dynamic ones."""
    for graph in model.graphs():
        for value in (*graph.inputs, *(output for node in graph for output in node.outputs)):
            if value.shape is not None and any(isinstance(size, int) and size < 0 for size in value.shape):
                value.shape = ir.Shape([None if isinstance(size, int) and size < 0 else size for size in value.shape])


def reason(error: BaseException) -> str:
    """Return the first line of the error that began ``error``, without those raised from it."""
    while inner := error.__cause__ or error.__context__:
        error = inner
    return (str(error).splitlines() or [type(error).__name__])[0]
