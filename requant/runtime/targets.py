"""What each engine takes: one table, read by the lowering, by the sessions and by the checker."""

import platform
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

import onnx_ir as ir

from ..choices import require_choice
from ..errors import TargetError
from ..ir.formats import Format
from ..ir.linear import Linear
from .versions import FIRST, latest, number


class Spelling(NamedTuple):
    """How an engine wants the codes of an activation: their type, and which of them stands for 0."""

    dtype: ir.DataType
    zero_point: int = 0


@dataclass(frozen=True)
class Target:
    """An engine's rules for quantized graphs.

    Attributes:
        name: what users call it.
        engine: what runs it, a key of `requant.runtime.versions.PACKAGES`.
        activations: how it spells the codes that a plan may have for data; others it cannot multiply.
        weight_only: types of weights that it multiplies float data by.
        dynamic: whether it has products whose data are quantized at run time.
        ops: the linear ops that have an integer kernel when their inputs are quantized and their output is not.
        reasons: why something stays in float: other ops, by type; under "static", data whose scale is calibrated.
        fewest_channels: the smallest K and N that pay, but for ops that write codes: what pays there is not to leave
            them.
        codes: whether products are written between codes and not behind DequantizeLinear (see
            `requant.passes.lowering.integer_product`).
        sums: whether what a Conv computes is added to int8 codes in codes.
        writes_codes: the ops among them whose integer kernel rounds its output to codes.
        weight_bits: width of int8 weights; 7 where the kernel would saturate.
        zero_points: whether data may have any zero point.
        half_products: whether products of codes may give halves: a Conv that writes codes, on the CPU, may not.
        highest_opset, highest_ir: the newest that it reads with Q/DQ; see `target` for what an older version reads.
    """

    name: str
    activations: Mapping[ir.DataType, Spelling]
    ops: frozenset[str]
    weight_only: frozenset[ir.DataType] = frozenset()
    dynamic: bool = False
    reasons: Mapping[str, str] = field(default_factory=dict)
    fewest_channels: int = 16
    codes: bool = False
    sums: bool = False
    writes_codes: frozenset[str] = frozenset()
    weight_bits: int = 8
    zero_points: bool = False
    half_products: bool = True
    highest_opset: int = 27
    highest_ir: int = 14
    engine: str = "onnxruntime"

    def excludes(self, linear: Linear, chosen: Format) -> str:
        """Why this engine should not run ``linear`` in ``chosen``, or nothing."""
        return next(self._exclusions(linear, chosen), "")

    def _exclusions(self, linear: Linear, chosen: Format) -> Iterator[str]:
        op_type, thin = linear.node.op_type, min(linear.inputs, linear.outputs)
        if reason := self.lacks(chosen):
            yield reason
        if chosen.activations is None and op_type == "Conv":
            yield f"{self.name} has no Conv of float data by a quantized weight"
        elif chosen.dynamic and op_type == "Conv":
            yield f"{self.name} has no Conv whose data are quantized at run time"
        elif op_type not in self.ops:
            yield self.reasons.get(op_type, f"{self.name} has no integer {op_type}")
        pays = thin >= self.fewest_channels or op_type in self.writes_codes or (op_type == "Conv" and thin % 8 == 0)
        if not pays:
            yield f"{linear.inputs} to {linear.outputs} channels are too few for an integer kernel to pay"

    def lacks(self, chosen: Format) -> str:
        """What kernel it has not got for ``chosen``, whatever the layer, or nothing."""
        if chosen.activations is None:
            known = chosen.weights in self.weight_only
            return "" if known else f"{self.name} has no product of float data by {chosen.weights.name.lower()} weights"
        if chosen.dynamic:
            return "" if self.dynamic else f"{self.name} has no product whose data are quantized at run time"
        if chosen.activations in self.activations:
            return ""
        return self.reasons.get("static", f"{self.name} has no product of {chosen.activations.name.lower()} codes")


_INT8, _FP8, _INT4, _UINT4 = (
    ir.DataType.INT8,
    ir.DataType.FLOAT8E4M3FN,
    ir.DataType.INT4,
    ir.DataType.UINT4,
)

_CPU = Target(
    name="cpu",
    activations={_INT8: Spelling(ir.DataType.UINT8, 128)},
    ops=frozenset({"MatMul", "Gemm", "Conv"}),
    weight_only=frozenset({_INT8, _INT4, _UINT4}),
    dynamic=True,
    codes=True,
    sums=True,
    writes_codes=frozenset({"Conv"}),
    half_products=False,
    zero_points=True,
)
_TENSORRT = Target(
    name="tensorrt",
    activations={_INT8: Spelling(_INT8), _FP8: Spelling(_FP8)},
    ops=frozenset({"MatMul", "Gemm", "Conv"}),
    weight_only=frozenset({_INT8, _INT4}),
    sums=True,
    highest_opset=24,
    highest_ir=12,
    engine="tensorrt",
)

TARGETS = {
    row.name: row
    for row in (
        _CPU,
        replace(_CPU, name="cpu-avx2", weight_bits=7),
        replace(_CPU, name="cpu-arm", activations={_INT8: Spelling(_INT8)}),
        Target(
            name="cuda",
            activations={},
            ops=frozenset({"MatMul", "Gemm"}),
            weight_only=frozenset({_INT8, _INT4, _UINT4}),
            reasons={
                "static": "ONNX Runtime has no integer product on CUDA: take the target tensorrt, or the recipe "
                "int8-weight or int4-weight with float16"
            },
        ),
        _TENSORRT,
        replace(_TENSORRT, name="tensorrt-rtx", engine="tensorrt-rtx"),
        replace(
            _TENSORRT,
            name="openvino",
            engine="openvino",
            activations=_CPU.activations,
            highest_opset=26,
            highest_ir=13,
        ),
    )
}
"""Engines by name. "cpu" is what the machine has: see `target`."""


READ = {"onnxruntime": {FIRST: (22, 11), "1.24": (25, 13), "1.25": (26, 13), "1.32": (27, 14)}}
"""The highest opset and IR version that an engine reads with Q/DQ, by its version. 1.23 has no QuantizeLinear of 23."""

ROUNDS_HALVES = "1.30"
"""The first ONNX Runtime whose CPU rounds float16 to the nearest code: those before round towards 0."""


def target(name: str, version: str | None = None) -> Target:
    """The row of ``name``; for "cpu" that of this machine's processor, under the name "cpu".

    Its versions of ONNX are those of the engine's ``version``; None is the installed one, or else the newest known.

    Raises:
        TargetError: there is none.
    """
    require_choice("target", name, TARGETS, TargetError)
    row = replace(TARGETS[processor()], name="cpu") if name == "cpu" else TARGETS[name]
    read = latest(READ.get(row.engine, {}), number(row.engine, version))
    return replace(row, highest_opset=read[1][0], highest_ir=read[1][1]) if read is not None else row


def processor(machine: str = "", flags: str | None = None) -> str:
    """The row of a processor: "cpu" with VNNI, "cpu-avx2" on x86-64 without, "cpu-arm".

    Args:
        machine: as `platform.machine` says; empty is this one.
        flags: what the processor can do, as in /proc/cpuinfo. None reads that; where there is none, VNNI is assumed.
    """
    machine = (machine or platform.machine()).lower()
    if machine.startswith(("arm", "aarch64")):
        return "cpu-arm"
    if flags is None:
        listing = Path("/proc/cpuinfo")
        flags = listing.read_text() if listing.exists() else "vnni"
    return "cpu" if "vnni" in flags or "amx_int8" in flags else "cpu-avx2"
