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
from .machine import processor
from .openvino import OPENVINO
from .target import Target
from .tensorrt import TENSORRT, TENSORRT_RTX

__all__ = ["READ", "ROUNDS_HALVES", "TARGETS", "ActivationType", "Target", "processor", "target"]

TARGETS: dict[str, Target] = {row.name: row for row in (CPU, CPU_AVX2, CPU_ARM, CUDA, TENSORRT, TENSORRT_RTX, OPENVINO)}
"""Engines by name. "cpu" is what the machine has: see `target`."""

READ = {row.engine: row.onnx_versions for row in TARGETS.values() if row.onnx_versions}
"""The highest opset and IR version that an engine reads with Q/DQ, by its version."""


def target(name: str, version: str | None = None) -> Target:
    """Return the row of ``name``; for "cpu" that of this machine's processor, under the name "cpu".

    Its versions of ONNX are those of the engine's ``version``; None is the installed one, or else the newest known.

    Raises:
        TargetError: there is none.
    """
    require_choice("target", name, TARGETS, TargetError)
    row = replace(TARGETS[processor()], name="cpu") if name == "cpu" else TARGETS[name]
    versions = latest(row.onnx_versions, number(row.distributions, version))
    return replace(row, highest_opset=versions[1][0], highest_ir=versions[1][1]) if versions is not None else row
