"""The tally of an engine: which kernels it runs of a quantized graph, and what they read and write."""

from typing import Literal, overload

import onnx_ir as ir

from ..errors import TargetError
from .kernel_tally import Tally
from .ort.session_tally import SessionTally, require_processor, session_tally
from .profiles import Profiles
from .targets import TARGETS
from .trt.api import PACKAGES, tensorrt
from .trt.engine_tally import CAPABILITY, EngineTally, engine_tally

__all__ = ["CAPABILITY", "EngineTally", "SessionTally", "Tally", "require_tally", "tally"]

PROCESSORS = tuple(name for name in TARGETS if name == "cpu" or name.startswith("cpu-"))
"""The targets whose kernels ONNX Runtime runs here."""


@overload
def tally(
    model: ir.Model,
    target: Literal["tensorrt", "tensorrt-rtx"],
    *,
    capability: str = ...,
    profiles: Profiles | None = ...,
    threads: int = ...,
) -> EngineTally: ...
@overload
def tally(
    model: ir.Model,
    target: Literal["cpu", "cpu-avx2", "cpu-arm"],
    *,
    capability: str = ...,
    profiles: Profiles | None = ...,
    threads: int = ...,
) -> SessionTally: ...
@overload
def tally(
    model: ir.Model, target: str, *, capability: str = ..., profiles: Profiles | None = ..., threads: int = ...
) -> Tally: ...


def tally(
    model: ir.Model, target: str, *, capability: str = "", profiles: Profiles | None = None, threads: int = 0
) -> Tally:
    """Count the kernels that an engine runs of ``model``, and their traffic.

    For TensorRT an engine is built and dropped, which takes as long as the build. For a processor ONNX Runtime opens
    the model as an application does, and runs it a few times on random data.

    Args:
        model: a graph, quantized or not; not modified.
        target: "tensorrt", "tensorrt-rtx", or a processor of this machine's kind, such as "cpu".
        capability: "tensorrt-rtx" alone: the compute capability to build for; the GPU's, or else `CAPABILITY`.
        profiles: for each dynamic input its smallest, usual and largest shape. Where the three are the same, the engine
            is that of the static shape; elsewhere TensorRT's builder lists no sizes, and there is no traffic. ONNX
            Runtime runs the usual one.
        threads: a processor alone: threads of the session; 0 lets ONNX Runtime choose.

    Raises:
        TargetError: the engine is not there, finds no GPU or is for another processor, or an input has no profile.
        BuildError: the engine refuses the model, or cannot build or run it.
        SourceError: the model cannot be read.
    """
    require_tally(target, capability=capability, threads=threads)
    if target in PROCESSORS:
        return session_tally(model, target, profiles=profiles or {}, threads=threads)
    return engine_tally(model, target, capability=capability, profiles=profiles or {})


def require_tally(target: str, *, capability: str = "", gpu: str = "", threads: int = 0) -> None:
    """Require that the kernels of ``target`` can be counted here, with these options.

    Raises:
        TargetError: they cannot.
    """
    if target in PROCESSORS:
        if capability or gpu:
            raise TargetError(
                f"{target!r} takes no compute capability and no GPU: its kernels run on the processor here"
            )
        require_processor(target)
    elif target in PACKAGES:
        if threads:
            raise TargetError(f"{target!r} takes no threads: its kernels run on a GPU")
        tensorrt(target)
    else:
        raise TargetError(
            f"the kernels of {target!r} cannot be counted: choose one of {', '.join((*PROCESSORS, *PACKAGES))}"
        )
