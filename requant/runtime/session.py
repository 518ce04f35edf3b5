"""Functions that run a model on any target."""

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from ..errors import SourceError
from .feeds import Feed, Run
from .ort.session import engine, error_text, is_engine_error, require_loadable, session
from .taps import with_taps
from .targets import TARGETS

__all__ = ["Run", "engine", "require_loadable", "runner", "session", "with_taps"]


def runner(
    model: ir.Model, taps: Sequence[str] = (), *, target: str = "cpu", optimized: bool = False, threads: int = 0
) -> Run:
    """Return a function that runs ``model`` on one feed and returns its outputs, then the values named ``taps``.

    With a target that ONNX Runtime does not run, such as "openvino", ``optimized`` has no meaning.
    """
    source = with_taps(model, taps) if taps else model
    names = [output.name or "" for output in model.graph.outputs] + list(taps)
    row = TARGETS.get(target)
    if row is not None and row.runner is not None:
        return row.runner(source, names, threads=threads)
    ort_session = session(source, target, optimized=optimized, threads=threads)

    def run(feed: Feed) -> list[NDArray[np.generic]]:
        try:
            outputs = ort_session.run(names, dict(feed))
        except Exception as error:
            if is_engine_error(error):
                raise SourceError(f"ONNX Runtime cannot run the model: {error_text(error)}") from error
            raise
        # before 1.27 an output that is an input is a view that does not keep the data alive
        return [feed.get(name, value) for name, value in zip(names, outputs, strict=True)]

    return run
