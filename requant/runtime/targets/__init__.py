"""The engines, an engine a module: its row of facts, its rules and its safe fixes; this is the registry.

A new engine is a module with a `Target`, and a line in `TARGETS`.
"""

from dataclasses import replace

from ...choices import require_choice
from ...errors import TargetError
from ...ir.formats import ActivationType
from ..versions import latest, number
from .cpu import CPU, CPU_ARM, CPU_AVX2, ROUNDS_HALVES
from .cuda import CUDA
from .machine import processor, processor_name
from .openvino import OPENVINO, OPENVINO_AVX2
from .target import Target
from .tensorrt import TENSORRT, TENSORRT_RTX

__all__ = ["READ", "ROUNDS_HALVES", "TARGETS", "ActivationType", "Target", "processor", "processor_name", "target"]

_ROWS = (CPU, CPU_AVX2, CPU_ARM, CUDA, TENSORRT, TENSORRT_RTX, OPENVINO, OPENVINO_AVX2)

TARGETS: dict[str, Target] = {row.name: row for row in _ROWS}
"""Engines by name. "cpu" and "openvino" are what the machine has: see `target`."""

_BY_PROCESSOR = {"cpu": ("cpu-avx2", "cpu-arm"), "openvino": ("openvino-avx2",)}
"""The rows of an engine for processors other than x86-64 with VNNI; their names end as the processor's."""

READ = {row.engine: row.onnx_versions for row in TARGETS.values() if row.onnx_versions}
"""The highest opset and IR version that an engine reads with Q/DQ, by its version."""


def target(name: str | Target, version: str | None = None) -> Target:
    """Return the row of ``name``; for "cpu" and "openvino" that of this machine's processor, under the same name.

    A row is returned as it is.

    Its versions of ONNX are those of the engine's ``version``; None is the installed one, or else the newest known.

    Raises:
        TargetError: there is none.
    """
    if isinstance(name, Target):
        return name
    require_choice("target", name, TARGETS, TargetError)
    variant = processor().replace("cpu", name, 1)
    row = replace(TARGETS[variant if variant in _BY_PROCESSOR.get(name, ()) else name], name=name)
    versions = latest(row.onnx_versions, number(row.distributions, version))
    return replace(row, highest_opset=versions[1][0], highest_ir=versions[1][1]) if versions is not None else row
