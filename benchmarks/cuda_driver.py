"""Memory of the GPU through its driver alone, so that a benchmark of TensorRT needs no other package.

Not run on a GPU by this project yet.
"""

import ctypes
from collections.abc import Sequence
from functools import cache

import numpy as np

from models.subject import Array
from requant.runtime.gpu import LIBRARY


@cache
def driver() -> ctypes.CDLL:
    """Load the driver, in the context that TensorRT uses too: the primary one of the first device."""
    library, device, context = ctypes.CDLL(LIBRARY), ctypes.c_int(), ctypes.c_void_p()
    _require(library.cuInit(0))
    _require(library.cuDeviceGet(ctypes.byref(device), 0))
    _require(library.cuDevicePrimaryCtxRetain(ctypes.byref(context), device))
    _require(library.cuCtxSetCurrent(context))
    return library


def synchronize() -> None:
    """Wait for all that was started."""
    _require(driver().cuCtxSynchronize())


class DeviceArray:
    """An array in memory of the GPU."""

    def __init__(self, shape: Sequence[int], dtype: np.dtype[np.generic]) -> None:
        self.host: Array = np.zeros(shape, dtype)
        self.address = ctypes.c_uint64()
        _require(driver().cuMemAlloc_v2(ctypes.byref(self.address), ctypes.c_size_t(max(self.host.nbytes, 1))))

    def write(self, data: Array) -> None:
        """Copy ``data`` to the GPU."""
        self.host[...] = data
        _require(driver().cuMemcpyHtoD_v2(self.address, self._pointer, ctypes.c_size_t(self.host.nbytes)))

    def read(self) -> Array:
        """Return a copy of what is on the GPU."""
        _require(driver().cuMemcpyDtoH_v2(self._pointer, self.address, ctypes.c_size_t(self.host.nbytes)))
        return self.host.copy()

    @property
    def _pointer(self) -> ctypes.c_void_p:
        return ctypes.c_void_p(self.host.ctypes.data)


def _require(status: int) -> None:
    if status:
        raise RuntimeError(f"the CUDA driver returned error {status}")
