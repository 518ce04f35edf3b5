"""An estimate of a kernel's time by its roofline: max(bytes / bandwidth, operations / peak) + a launch.

It ranks engines of one model; it is no measurement. Caches, occupancy and clocks are ignored.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import prod

from ..engine_kernel import EngineKernel
from ..engine_layer import EngineTensor

LAUNCH = 2e-6
"""Seconds from the end of a kernel to the next one's first bytes."""


@dataclass(frozen=True)
class GpuPeaks:
    """A GPU: its memory's bandwidth in GB/s, and its dense peaks in TFLOPS or TOPS by type of a product's operands.

    ``capability`` is that which TensorRT-RTX builds for: the GPU's own, or the closest that it knows.
    """

    title: str
    capability: str
    bandwidth: float
    peaks: Mapping[str, float]


def _peaks(tf32: float, half: float, int8: float, fp8: float) -> dict[str, float]:
    return {"float32": tf32, "float16": half, "bfloat16": half, "int8": int8, "fp8": fp8}


GPUS = {
    "l4": GpuPeaks("L4", "8.9", 300, _peaks(60, 121, 242, 242)),
    "4090": GpuPeaks("RTX 4090", "8.9", 1008, _peaks(83, 165, 660, 330)),
    "5090": GpuPeaks("RTX 5090", "12.0", 1792, _peaks(105, 209, 838, 419)),
    "h100": GpuPeaks("H100 SXM", "8.9", 3350, _peaks(495, 989, 1979, 1979)),
}
"""By the name of an option; from NVIDIA's datasheets, without sparsity, products of floats summed in float32."""


def microseconds(kernels: Iterable[EngineKernel], gpu: GpuPeaks) -> float:
    """Estimate the time of ``kernels`` on ``gpu``, one after the other.

    Raises:
        TargetError: as `EngineLayer.nbytes`.
    """
    return sum(seconds(kernel, gpu) for kernel in kernels) * 1e6


def seconds(kernel: EngineKernel, gpu: GpuPeaks) -> float:
    """Estimate the time of ``kernel`` on ``gpu``.

    Raises:
        TargetError: as `EngineLayer.nbytes`.
    """
    traffic = kernel.layer.nbytes / (gpu.bandwidth * 1e9)
    peak = gpu.peaks.get(kernel.dtype, gpu.peaks["float16"]) * 1e12
    return max(traffic, operations(kernel) / peak) + LAUNCH


def operations(kernel: EngineKernel) -> int:
    """Count the multiplications and additions of the products in ``kernel``; 0 where it has none."""
    layer = kernel.layer
    if kernel.kind == "other" or not layer.inputs or not layer.outputs:
        return 0
    first, outputs = layer.inputs[0].shape, layer.outputs[0].shape
    if kernel.kind == "attention":
        keys = prod(layer.inputs[1].shape) // (first[0] * first[-1])
        return 4 * prod(first) * keys
    weight = max(layer.constants, key=_elements, default=None)
    if weight is None or len(weight.shape) < 2:
        return 2 * prod(outputs) * first[-1]
    if layer.kind == "deconv":
        return 2 * prod(first) * _elements(weight) // weight.shape[0]
    per_output = _elements(weight) // (weight.shape[0] if kernel.kind == "convolution" else outputs[-1])
    return 2 * prod(outputs) * per_output


def _elements(tensor: EngineTensor) -> int:
    return prod(tensor.shape)
