"""Run a model with its data on the GPU already, so that a clock sees the engine and no copies.

Neither ONNX Runtime's GPU providers nor TensorRT's engines have been run by this project yet.
"""

import ctypes
import importlib
from pathlib import Path
from types import ModuleType
from typing import NamedTuple, Protocol

import onnx_ir as ir
import onnxruntime as ort

from models.subject import Array, Feed
from requant.runtime import build_engine, session
from requant.runtime.gpu import LIBRARY


class Live(Protocol):
    """A model that is ready to run on one feed."""

    def run(self) -> None:
        """Compute the outputs and wait for them."""

    def outputs(self) -> list[Array]:
        """What the last run computed."""


class Bound:
    """A session of ONNX Runtime with its inputs and outputs bound to memory of ``device``."""

    def __init__(self, model: ir.Model, feed: Feed, target: str, cache: Path, device: str = "cuda") -> None:
        self.session = session(model, target, cache=cache)
        self.binding = self.session.io_binding()
        for name, array in feed.items():
            self.binding.bind_ortvalue_input(name, ort.OrtValue.ortvalue_from_numpy(array, device, 0))
        for output in self.session.get_outputs():
            self.binding.bind_output(output.name, device)

    def run(self) -> None:
        """Run once; it waits."""
        self.session.run_with_iobinding(self.binding)

    def outputs(self) -> list[Array]:
        """Copies of the outputs."""
        return [value.numpy() for value in self.binding.get_outputs()]


class _Tensor(NamedTuple):
    """A tensor of an engine, in memory of the GPU."""

    is_output: bool
    value: ort.OrtValue


class Engine:
    """A TensorRT engine with its tensors in memory of the GPU that ONNX Runtime allocates."""

    def __init__(self, model: ir.Model, feed: Feed, cache: Path) -> None:
        trt = importlib.import_module("tensorrt")
        shapes = {name: (array.shape,) * 3 for name, array in feed.items()}
        plan = build_engine(model, cache, profiles=shapes).read_bytes()
        self.runtime = trt.Runtime(trt.Logger(trt.Logger.ERROR))
        self.engine = self.runtime.deserialize_cuda_engine(plan)
        self.context = self.engine.create_execution_context()
        self.driver = ctypes.CDLL(LIBRARY)
        for name, array in feed.items():
            self.context.set_input_shape(name, array.shape)
        names = [self.engine.get_tensor_name(index) for index in range(self.engine.num_io_tensors)]
        self.tensors = {name: self._tensor(trt, name, feed) for name in names}
        for name, tensor in self.tensors.items():
            self.context.set_tensor_address(name, tensor.value.data_ptr())

    def _tensor(self, trt: ModuleType, name: str, feed: Feed) -> _Tensor:
        if name in feed:
            return _Tensor(False, ort.OrtValue.ortvalue_from_numpy(feed[name], "cuda", 0))
        dtype = trt.nptype(self.engine.get_tensor_dtype(name))
        shape = tuple(self.context.get_tensor_shape(name))
        return _Tensor(True, ort.OrtValue.ortvalue_from_shape_and_type(shape, dtype, "cuda", 0))

    def run(self) -> None:
        """Run once on the default stream, and wait."""
        if not self.context.execute_async_v3(0) or self.driver.cuCtxSynchronize():
            raise RuntimeError("TensorRT did not run the engine; its log says why")

    def outputs(self) -> list[Array]:
        """Copies of the outputs."""
        return [tensor.value.numpy() for tensor in self.tensors.values() if tensor.is_output]
