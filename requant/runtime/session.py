"""Functions that run a model on any target."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from ..errors import SourceError
from ..ir.float_types import BFLOAT16, DOUBLE, holds, in_float32
from .feeds import Feed, Run, fitted
from .ort.provider import CPU
from .ort.session import engine, error_text, is_engine_error, require_loadable, session
from .taps import with_taps
from .targets import TARGETS

if TYPE_CHECKING:
    import onnxruntime

__all__ = ["Run", "engine", "require_loadable", "runner", "session", "with_taps"]

_NO_KERNEL = "Could not find an implementation"
"""ONNX Runtime's words where it has no kernel for the types of a node."""


def runner(
    model: ir.Model, taps: Sequence[str] = (), *, target: str = "cpu", optimized: bool = False, threads: int = 0
) -> Run:
    """Return a function that runs ``model`` on one feed and returns its outputs, then the values named ``taps``.

    Floats of a feed are converted to the types that the model takes. With a target that ONNX Runtime does not run, such
    as "openvino", ``optimized`` has no meaning. On the CPU, a model in bfloat16 runs in float32, and so does one in
    float64 with ops for which ONNX Runtime has no kernel in float64.
    """
    source = with_taps(model, taps) if taps else model
    names = [output.name or "" for output in model.graph.outputs] + list(taps)
    row = TARGETS.get(target)
    if row is not None and row.runner is not None:
        return row.runner(source, names, threads=threads)
    if row is not None and row.provider is not None and row.provider.name == CPU:
        source, ort_session = _on_cpu(source, target, optimized=optimized, threads=threads)
    else:
        ort_session = session(source, target, optimized=optimized, threads=threads)

    def run(feed: Feed) -> list[NDArray[np.generic]]:
        data = dict(fitted(feed, source))
        try:
            outputs = ort_session.run(names, data)
        except Exception as error:
            if is_engine_error(error):
                raise SourceError(f"ONNX Runtime cannot run the model: {error_text(error)}") from error
            raise
        # before 1.27 an output that is an input is a view that does not keep the data alive
        return [data.get(name, value) for name, value in zip(names, outputs, strict=True)]

    return run


def _on_cpu(
    model: ir.Model, target: str, *, optimized: bool, threads: int
) -> tuple[ir.Model, "onnxruntime.InferenceSession"]:
    """Open a session of ``model``, or of a copy in float32 where the CPU has no kernels; returns the model too."""
    source = in_float32(model, BFLOAT16) if holds(model, BFLOAT16) else model
    try:
        return source, session(source, target, optimized=optimized, threads=threads)
    except SourceError as error:
        if _NO_KERNEL not in str(error) or not holds(source, DOUBLE):
            raise
    source = in_float32(source, DOUBLE)
    return source, session(source, target, optimized=optimized, threads=threads)
