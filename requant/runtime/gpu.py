"""The name of the GPU, from its driver."""

import ctypes
import sys

LIBRARY = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"


def gpu_name() -> str:
    """Return the first CUDA device's name, such as "NVIDIA H200"; empty where there is none."""
    try:
        driver = ctypes.CDLL(LIBRARY)
    except OSError:
        return ""
    device, name = ctypes.c_int(), ctypes.create_string_buffer(256)
    failed = (
        driver.cuInit(0)
        or driver.cuDeviceGet(ctypes.byref(device), 0)
        or driver.cuDeviceGetName(name, len(name), device)
    )
    return "" if failed else name.value.decode()
