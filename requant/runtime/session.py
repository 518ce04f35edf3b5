"""ONNX Runtime sessions over models in memory."""

import importlib
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from ..errors import SourceError, TargetError
from ..ir.save import INLINE_LIMIT, save, to_bytes
from ..ir.validate import stored_tensors

if TYPE_CHECKING:
    import onnxruntime

Feed = Mapping[str, NDArray[np.generic]]
"""One batch: an array for each input of the model, with the samples along the first dimension."""

Run = Callable[[Feed], list[NDArray[np.generic]]]
"""Runs a model on one feed and returns its outputs."""


def session(
    model: ir.Model | str | Path, *, optimized: bool = True, threads: int = 0
) -> "onnxruntime.InferenceSession":
    """An ONNX Runtime CPU session.

    Args:
        model: the model, or the path of one.
        optimized: False turns all graph optimizations off, so that the graph is computed as it is written.
        threads: intra-op threads; 0 lets ONNX Runtime choose.

    Raises:
        TargetError: onnxruntime is not installed.
        SourceError: ONNX Runtime does not load the model.
    """
    ort = engine()
    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = threads
    if not optimized:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    try:
        return _open(model, options)
    except Exception as error:
        if type(error).__module__.startswith("onnxruntime"):
            raise SourceError(f"ONNX Runtime does not load the model: {_reason(error)}") from error
        raise


def runner(model: ir.Model, taps: Sequence[str] = (), *, optimized: bool = False, threads: int = 0) -> Run:
    """A function that runs ``model`` on one feed and returns its outputs, then the values named ``taps``."""
    live = session(tapped(model, taps) if taps else model, optimized=optimized, threads=threads)
    names = [output.name for output in live.get_outputs()][: len(model.graph.outputs)]
    names += list(taps)

    def run(feed: Feed) -> list[NDArray[np.generic]]:
        try:
            return list(live.run(names, dict(feed)))
        except Exception as error:
            if type(error).__module__.startswith("onnxruntime"):
                raise SourceError(f"ONNX Runtime cannot run the model: {_reason(error)}") from error
            raise

    return run


def tapped(model: ir.Model, taps: Sequence[str]) -> ir.Model:
    """A copy of ``model`` that also outputs the values named ``taps``."""
    copy = model.clone()
    values = ir.convenience.create_value_mapping(copy.graph)
    present = {output.name for output in copy.graph.outputs}
    copy.graph.outputs.extend(values[name] for name in dict.fromkeys(taps) if name not in present)
    return copy


def engine() -> ModuleType:
    """The onnxruntime module.

    Raises:
        TargetError: it is not installed; the text says which extra to install.
    """
    try:
        return importlib.import_module("onnxruntime")
    except ImportError as error:
        raise TargetError(
            "onnxruntime is not installed: pip install 'requant[cpu]', or 'requant[gpu]' on a machine with CUDA"
        ) from error


def _open(model: ir.Model | str | Path, options: "onnxruntime.SessionOptions") -> "onnxruntime.InferenceSession":
    ort, providers = engine(), ["CPUExecutionProvider"]
    if not isinstance(model, ir.Model):
        return ort.InferenceSession(str(model), options, providers=providers)
    if sum(tensor.nbytes for tensor in stored_tensors(model)) <= INLINE_LIMIT:
        return ort.InferenceSession(to_bytes(model), options, providers=providers)
    with tempfile.TemporaryDirectory() as folder:
        save(model, Path(folder) / "model.onnx")
        return ort.InferenceSession(str(Path(folder) / "model.onnx"), options, providers=providers)


def _reason(error: Exception) -> str:
    """ONNX Runtime's message without its code prefix and source positions, on one line."""
    text = " ".join(str(error).split())
    return text.split(" : ", 3)[-1]
