"""Measured times of an engine's kernels beside what the builder lists of them."""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import onnx_ir as ir

from models.subject import Feed
from requant.runtime.gpu import gpu_name
from requant.runtime.tally import Tally, tally
from requant.runtime.trt.roofline import GPUS, GpuPeaks, seconds


class KernelGroup(NamedTuple):
    """Kernels of one kind: their number and traffic, and milliseconds as estimated and as measured."""

    title: str
    kernels: int
    megabytes: float
    estimated: float
    measured: float


def kernel_groups(model: ir.Model, target: str, feed: Feed, times: Mapping[str, float]) -> list[KernelGroup]:
    """Group the kernels of an engine of ``model`` by what they compute, those that take longest first.

    ``times`` are milliseconds by the name of a kernel; those of no kernel that the builder lists are a group too.
    """
    shapes = {name: (array.shape,) * 3 for name, array in feed.items()}
    found = list(_groups(tally(model, target, profiles=shapes), times, this_gpu()))
    return sorted(found, key=lambda group: -group.measured)


def this_gpu() -> GpuPeaks | None:
    """Return the row of this machine's GPU; None where the table has none."""
    words = gpu_name().lower().split()
    return next((row for name, row in GPUS.items() if name in words), None)


def _groups(result: Tally, times: Mapping[str, float], gpu: GpuPeaks | None) -> Iterator[KernelGroup]:
    titles = {kernel: ops for ops, kernels in result.other_kernels.items() for kernel in kernels}
    names = dict.fromkeys(titles.get(kernel, kernel.title) for kernel in result.kernels)
    for title in names:
        kernels = [kernel for kernel in result.kernels if titles.get(kernel, kernel.title) == title]
        estimated = sum(seconds(kernel, gpu) for kernel in kernels) * 1e3 if gpu is not None else 0.0
        measured = sum(times.get(kernel.layer.name, 0.0) for kernel in kernels)
        yield KernelGroup(title, len(kernels), sum(one.layer.nbytes for one in kernels) / 1e6, estimated, measured)
    rest = {name: time for name, time in times.items() if name not in {one.layer.name for one in result.kernels}}
    if rest:
        yield KernelGroup("not in the builder's list", len(rest), 0.0, 0.0, sum(rest.values()))
