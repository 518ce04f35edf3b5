"""OpenVINO's own runtime: it reads Q/DQ and runs it in int8 on x86 processors, a second engine beside ONNX Runtime."""

import importlib
from collections.abc import Callable, Mapping, Sequence
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from ..errors import SourceError, TargetError
from .model_file import readable

if TYPE_CHECKING:
    import openvino

PROPERTIES = {
    "INFERENCE_PRECISION_HINT": "f32",  # else bfloat16 where the processor has it
    "DYNAMIC_QUANTIZATION_GROUP_SIZE": 0,  # else data are quantized wherever weights are
    "PERFORMANCE_HINT": "LATENCY",
}
"""What OpenVINO must not do by itself: only the codes in the graph may change numbers."""

NOISE = ("Exception from", "Check '", "To facilitate")
"""How those lines of its messages begin that tell a user nothing."""


def runner(
    model: ir.Model, names: Sequence[str], *, threads: int = 0
) -> Callable[[Mapping[str, NDArray[np.generic]]], list[NDArray[np.generic]]]:
    """A function that runs ``model`` on the CPU on one feed and returns the values called ``names``.

    Args:
        model: the model.
        names: of graph outputs.
        threads: of the inference; 0 lets OpenVINO choose.

    Raises:
        TargetError: openvino is not installed.
        SourceError: OpenVINO does not load the model; the function raises it when the model does not run.
    """
    compiled = compile_model(model, threads=threads)
    read = {name for port in compiled.inputs for name in port.get_names()}
    unread = {value.name for value in model.graph.inputs} - read  # which it has no place for

    def run(feed: Mapping[str, NDArray[np.generic]]) -> list[NDArray[np.generic]]:
        try:
            found = compiled({name: data for name, data in feed.items() if name not in unread})
        except RuntimeError as error:
            raise SourceError(f"OpenVINO cannot run the model: {_reason(error)}") from error
        return [np.array(found[name]) for name in names]  # its own buffers are written again by the next run

    return run


def compile_model(model: ir.Model, *, threads: int = 0) -> "openvino.CompiledModel":
    """``model`` compiled for the CPU with `PROPERTIES`.

    Raises:
        TargetError: openvino is not installed.
        SourceError: OpenVINO does not load the model.
    """
    core = _openvino().Core()
    properties = PROPERTIES | ({"INFERENCE_NUM_THREADS": threads} if threads else {})
    try:
        with readable(model) as source:
            return core.compile_model(core.read_model(source), "CPU", properties)
    except RuntimeError as error:
        raise SourceError(f"OpenVINO does not load the model: {_reason(error)}") from error


def kernels(compiled: "openvino.CompiledModel") -> list[tuple[str, str]]:
    """What really runs: the kind of each layer and what it multiplies in, such as ("FullyConnected", "i8")."""
    notes = (operation.get_rt_info() for operation in compiled.get_runtime_model().get_ordered_ops())
    return [(str(note["layerType"].astype(str)), str(note["runtimePrecision"].astype(str))) for note in notes]


def _openvino() -> ModuleType:
    try:
        return importlib.import_module("openvino")
    except ImportError as error:
        raise TargetError("openvino is not installed: pip install 'requant[openvino]'") from error


def _reason(error: RuntimeError) -> str:
    """The last lines of OpenVINO's message, without those that say where in its source, or where to read on."""
    lines = (line.strip() for line in str(error).splitlines())
    return " ".join([line for line in lines if line and not line.startswith(NOISE)][-2:])
