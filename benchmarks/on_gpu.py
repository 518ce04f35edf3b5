"""Run a model with its data on the GPU already, so that a clock sees the engine and no copies.

Neither ONNX Runtime's GPU providers nor TensorRT's engines have been run by this project yet.
"""

import importlib
from pathlib import Path
from typing import Protocol

import numpy as np
import onnx_ir as ir
import onnxruntime as ort

from models.subject import Array, Feed
from requant.runtime import build_engine, session
from requant.runtime.trt.api import PACKAGES

from .cuda_driver import DeviceArray, synchronize


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


class Engine:
    """An engine of TensorRT or TensorRT-RTX, with its tensors in memory of the GPU."""

    def __init__(self, model: ir.Model, feed: Feed, cache: Path, target: str = "tensorrt") -> None:
        trt = importlib.import_module(PACKAGES[target].module)
        shapes = {name: (array.shape,) * 3 for name, array in feed.items()}
        plan = build_engine(model, cache, profiles=shapes, target=target).read_bytes()
        self.trt = trt
        self.runtime = trt.Runtime(trt.Logger(trt.Logger.ERROR))
        self.engine = self.runtime.deserialize_cuda_engine(plan)
        self.context = self.engine.create_execution_context()
        for name, array in feed.items():
            self.context.set_input_shape(name, array.shape)
        names = [self.engine.get_tensor_name(index) for index in range(self.engine.num_io_tensors)]
        self.results = [name for name in names if name not in feed]
        self.tensors = {name: self._tensor(name, feed) for name in names}

    def _tensor(self, name: str, feed: Feed) -> DeviceArray:
        dtype = np.dtype(self.trt.nptype(self.engine.get_tensor_dtype(name)))
        tensor = DeviceArray(tuple(self.context.get_tensor_shape(name)), dtype)
        if name in feed:
            tensor.write(feed[name])
        self.context.set_tensor_address(name, tensor.address.value)
        return tensor

    def run(self) -> None:
        """Run once on the default stream, and wait."""
        if not self.context.execute_async_v3(0):
            raise RuntimeError("TensorRT did not run the engine; its log says why")
        synchronize()

    def outputs(self) -> list[Array]:
        """Copies of the outputs."""
        return [self.tensors[name].read() for name in self.results]

    def kernel_times(self, runs: int = 10) -> dict[str, float]:
        """Return the mean milliseconds of each kernel, by its name, as TensorRT's own profiler measures them.

        It waits after each kernel, so that they add up to more than a run takes.
        """
        totals = dict[str, float]()

        def report(profiler: object, name: str, milliseconds: float) -> None:
            totals[name] = totals.get(name, 0.0) + milliseconds / runs

        profiler = type("Times", (self.trt.IProfiler,), {"report_layer_time": report})()
        self.context.profiler = profiler
        for _ in range(runs):
            self.run()
        self.context.profiler = None
        return totals
