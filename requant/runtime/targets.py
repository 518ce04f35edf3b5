"""What each engine takes: one table, read by the lowering and by the checker."""

from dataclasses import dataclass, field
from typing import Literal

import onnx_ir as ir

from ..errors import TargetError


@dataclass(frozen=True)
class Target:
    """An engine's rules for 8-bit Q/DQ graphs.

    ``activation`` and ``zero_point`` spell the symmetric activation quantizer: the same real values everywhere.
    ``ops`` are the linear ops that have an integer kernel when their inputs are quantized and their output is
    not; ``reasons`` says of the others why they stay in float. ``fewest_channels`` is the smallest K and N that
    pay. ``bias`` is "float", or "fused" where a float bias after the product would keep the kernel from being
    chosen (see `requant.passes.insert_qdq`).
    """

    name: str
    activation: ir.DataType
    zero_point: int
    ops: frozenset[str]
    reasons: dict[str, str] = field(default_factory=dict)
    fewest_channels: int = 16
    bias: Literal["float", "fused"] = "float"
    highest_opset: int = 26
    highest_ir: int = 13


TARGETS = {
    "cpu": Target(
        name="cpu",
        activation=ir.DataType.UINT8,
        zero_point=128,
        ops=frozenset({"MatMul", "Gemm"}),
        reasons={"Conv": "ONNX Runtime's integer Conv needs a quantized output, which would cost accuracy"},
        bias="fused",
    ),
    "tensorrt": Target(
        name="tensorrt",
        activation=ir.DataType.INT8,
        zero_point=0,
        ops=frozenset({"MatMul", "Gemm", "Conv"}),
        highest_opset=24,
        highest_ir=12,
    ),
}


def target(name: str) -> Target:
    """The row of ``name``.

    Raises:
        TargetError: there is none.
    """
    try:
        return TARGETS[name]
    except KeyError:
        raise TargetError(f"unknown target {name!r}: choose one of {', '.join(TARGETS)}") from None
