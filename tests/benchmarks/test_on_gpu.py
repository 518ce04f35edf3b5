"""An engine on the GPU, on a fake driver and a fake TensorRT: its data, its runs, and its kernels' times."""

import ctypes
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from benchmarks import cuda_driver, gpu_kernels, on_gpu
from models.subject import Array
from requant.runtime.trt.engine_layers import engine_layers
from tests.runtime.trt.fake_tensorrt import Calls, fake_tensorrt_rtx
from tests.runtime.trt.listings import listing

FEED: dict[str, Array] = {"x": np.arange(6, dtype=np.float32).reshape(2, 3)}


class FakeDriver:
    """Memory of a GPU that is memory of the host."""

    def __init__(self) -> None:
        self.blocks: list[ctypes.Array[ctypes.c_char]] = []
        self.waits = 0

    def __getattr__(self, name: str) -> Any:  # a function of the driver, which returns a status
        return lambda *arguments: 0

    def cuMemAlloc_v2(self, address: Any, size: ctypes.c_size_t) -> int:  # noqa: N802
        self.blocks.append(ctypes.create_string_buffer(size.value))
        address._obj.value = ctypes.addressof(self.blocks[-1])
        return 0

    def cuMemcpyHtoD_v2(self, address: ctypes.c_uint64, host: ctypes.c_void_p, size: ctypes.c_size_t) -> int:  # noqa: N802
        ctypes.memmove(address.value, host.value or 0, size.value)
        return 0

    def cuMemcpyDtoH_v2(self, host: ctypes.c_void_p, address: ctypes.c_uint64, size: ctypes.c_size_t) -> int:  # noqa: N802
        ctypes.memmove(host.value or 0, address.value, size.value)
        return 0

    def cuCtxSynchronize(self) -> int:  # noqa: N802
        self.waits += 1
        return 0


class FakeContext:
    """A context whose engine doubles x, in two kernels of a quarter of a millisecond."""

    def __init__(self) -> None:
        self.addresses: dict[str, int] = {}
        self.profiler: Any = None

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> None:
        assert (name, shape) == ("x", (2, 3))

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return (2, 3)

    def set_tensor_address(self, name: str, address: int) -> None:
        self.addresses[name] = address

    def execute_async_v3(self, stream: int) -> bool:
        x, y = ((ctypes.c_float * 6).from_address(self.addresses[name]) for name in "xy")
        for position in range(6):
            y[position] = 2 * x[position]
        if self.profiler is not None:
            for kernel in ("a", "b"):
                self.profiler.report_layer_time(kernel, 0.25)
        return True


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeDriver]:
    """Put a fake driver and a fake TensorRT-RTX in place."""
    fake = FakeDriver()
    names = SimpleNamespace(
        num_io_tensors=2, get_tensor_name="xy".__getitem__, get_tensor_dtype=lambda name: "float",
        create_execution_context=FakeContext,
    )  # fmt: skip
    module = SimpleNamespace(
        Runtime=lambda logger: SimpleNamespace(deserialize_cuda_engine=lambda plan: names),
        Logger=type("Logger", (), {"ERROR": 0, "__init__": lambda self, level: None}),
        IProfiler=object, nptype=lambda dtype: np.float32,
    )  # fmt: skip
    monkeypatch.setattr(ctypes, "CDLL", lambda name: fake)
    monkeypatch.setitem(sys.modules, "tensorrt_rtx", module)
    monkeypatch.setattr(on_gpu, "build_engine", lambda model, cache, **options: cache / "plan")
    cuda_driver.driver.cache_clear()
    yield fake
    cuda_driver.driver.cache_clear()


def test_an_engine_runs_on_data_that_are_there_and_its_kernels_are_timed(driver: FakeDriver, tmp_path: Path) -> None:
    (tmp_path / "plan").write_bytes(b"engine")
    engine = on_gpu.Engine(ir.Model(ir.Graph([], [], nodes=[]), ir_version=10), FEED, tmp_path, "tensorrt-rtx")
    engine.run()
    (output,) = engine.outputs()
    assert np.array_equal(output, 2 * FEED["x"])
    assert engine.kernel_times(4) == {"a": 0.25, "b": 0.25}
    assert driver.waits == 5
    assert engine.context.profiler is None


def test_a_status_of_the_driver_is_an_error(driver: FakeDriver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(driver, "cuCtxSynchronize", lambda: 700)
    with pytest.raises(RuntimeError, match="the CUDA driver returned error 700"):
        cuda_driver.synchronize()


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Calls:
    """Put a fake builder in place that lists recorded kernels."""
    return fake_tensorrt_rtx(monkeypatch)


def test_times_stand_beside_what_the_builder_lists(calls: Calls, monkeypatch: pytest.MonkeyPatch) -> None:
    calls.listing = listing("activation_scales")
    monkeypatch.setattr(gpu_kernels, "gpu_name", lambda: "NVIDIA GeForce RTX 4090")
    names = [layer.name for layer in engine_layers([calls.listing])]
    text = '<ir_version: 10, opset_import: ["": 17]> g (float[128,256] x) => (float[128,256] y) { y = Relu(x) }'
    proto = onnx.parser.parse_model(text)
    times = {**dict.fromkeys(names, 0.5), "reformat": 0.125}
    feed: dict[str, Array] = {"x": np.zeros((128, 256), np.float32)}
    groups = gpu_kernels.kernel_groups(ir.from_proto(proto), "tensorrt-rtx", feed, times)
    assert sum(group.measured for group in groups) == 0.5 * len(names) + 0.125
    assert groups[-1][:2] == ("not in the builder's list", 1)
    assert all(group.estimated > 0.001 for group in groups[:-1])
