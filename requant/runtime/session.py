"""Functions that run a model on any target."""

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from ..errors import SourceError
from ..ir.float_types import convert_floats, holds
from .feeds import Feed, Run, fitted
from .ort.session import engine, error_text, is_engine_error, require_loadable, session
from .taps import with_taps
from .targets import TARGETS

_NO_KERNEL = "Could not find an implementation"
"""What ONNX Runtime says when it has no kernel for the types of a node."""

__all__ = ["Run", "engine", "require_loadable", "runner", "session", "with_taps"]


def runner(
    model: ir.Model, taps: Sequence[str] = (), *, target: str = "cpu", optimized: bool = False, threads: int = 0
) -> Run:
    """Return a function that runs ``model`` on one feed and returns its outputs, then the values named ``taps``.

    With a target that ONNX Runtime does not run, such as "openvino", ``optimized`` has no meaning. On the CPU a model in
    a floating-point type for which ONNX Runtime has no kernels there is run in float32: see `computable`.
    """
    tapped = with_taps(model, taps) if taps else model
    source = computable(tapped) if target == "cpu" else tapped
    names = [output.name or "" for output in model.graph.outputs] + list(taps)
    row = TARGETS.get(target)
    if row is not None and row.runner is not None:
        return row.runner(source, names, threads=threads)
    ort_session = session(source, target, optimized=optimized, threads=threads)

    def run(feed: Feed) -> list[NDArray[np.generic]]:
        try:
            outputs = ort_session.run(names, dict(feed if source is tapped else fitted(feed, source)))
        except Exception as error:
            if is_engine_error(error):
                raise SourceError(f"ONNX Runtime cannot run the model: {error_text(error)}") from error
            raise
        # before 1.27 an output that is an input is a view that does not keep the data alive
        return [feed.get(name, value) for name, value in zip(names, outputs, strict=True)]

    return run


def computable(model: ir.Model) -> ir.Model:
    """Return ``model``, or a copy in float32 where ONNX Runtime's CPU has no kernels for its floating-point types.

    It has next to none for bfloat16, and only some for float64.
    """
    halves, doubles = frozenset({ir.DataType.BFLOAT16}), frozenset({ir.DataType.DOUBLE})
    dtypes = halves if holds(model, halves) else frozenset[ir.DataType]()
    if holds(model, doubles) and not _has_kernels(model):
        dtypes |= doubles
    if not dtypes:
        return model
    copy = model.clone()
    convert_floats(copy, dtypes)
    return copy


def _has_kernels(model: ir.Model) -> bool:
    try:
        session(model, optimized=False, threads=1)
    except SourceError as error:
        return _NO_KERNEL not in str(error)
    return True
