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
"""Properties that keep OpenVINO from rounding by itself: only the Q/DQ nodes of the graph may."""

NOISE = ("Exception from", "Check '", "To facilitate")
"""Prefixes of those lines of its messages that do not help a user."""


def runner(
    model: ir.Model, names: Sequence[str], *, threads: int = 0
) -> Callable[[Mapping[str, NDArray[np.generic]]], list[NDArray[np.generic]]]:
    """Return a function that runs ``model`` on the CPU on one feed and returns the values called ``names``.

    Args:
        model: the model.
        names: of graph outputs.
        threads: of the inference; 0 lets OpenVINO choose.

    Raises:
        TargetError: openvino is not installed.
        SourceError: OpenVINO does not load the model; the function raises it when the model does not run.
    """
    compiled = compile_model(model, threads=threads)
    inputs = {name for port in compiled.inputs for name in port.get_names()}
    unused = {value.name for value in model.graph.inputs} - inputs  # which it has removed

    def run(feed: Mapping[str, NDArray[np.generic]]) -> list[NDArray[np.generic]]:
        try:
            outputs = compiled({name: data for name, data in feed.items() if name not in unused})
        except RuntimeError as error:
            raise SourceError(f"OpenVINO cannot run the model: {_reason(error)}") from error
        return [np.array(outputs[name]) for name in names]  # the next run overwrites the buffers

    return run


def compile_model(model: ir.Model, *, threads: int = 0) -> "openvino.CompiledModel":
    """Compile ``model`` for the CPU with `PROPERTIES`.

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
    """List the layers that OpenVINO runs: the kind of each and its precision, such as ("FullyConnected", "i8")."""
    notes = (operation.get_rt_info() for operation in compiled.get_runtime_model().get_ordered_ops())
    return [(str(note["layerType"].astype(str)), str(note["runtimePrecision"].astype(str))) for note in notes]


def _openvino() -> ModuleType:
    try:
        return importlib.import_module("openvino")
    except ImportError as error:
        raise TargetError("openvino is not installed: pip install 'requant[openvino]'") from error


def _reason(error: RuntimeError) -> str:
    """Return the last lines of OpenVINO's message, without source positions and links."""
    lines = (line.strip() for line in str(error).splitlines())
    return " ".join([line for line in lines if line and not line.startswith(NOISE)][-2:])
