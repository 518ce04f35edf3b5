"""What each engine takes: one table, read by the lowering and by the checker."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

import onnx_ir as ir

from ..errors import TargetError
from ..ir.linear import Linear


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

    def excludes(self, linear: Linear) -> str:
        """Why this engine should run ``linear`` in float, or nothing."""
        return next(self._exclusions(linear), "")

    def _exclusions(self, linear: Linear) -> Iterator[str]:
        op_type, thin = linear.node.op_type, min(linear.inputs, linear.outputs)
        if op_type not in self.ops:
            yield self.reasons.get(op_type, f"{self.name} has no integer {op_type}")
        if thin < self.fewest_channels and not (op_type == "Conv" and thin % 8 == 0):
            yield f"{linear.inputs} to {linear.outputs} channels are too few for an integer kernel to pay"
        if self.bias == "fused" and op_type == "Gemm" and linear.bias and _gemm_factors(linear.node) != (1.0, 1.0):
            yield f"{self.name}'s integer Gemm takes no alpha or beta beside a bias"
        if self.bias == "fused" and op_type == "MatMul" and _joins_residual(linear):
            yield f"{self.name} makes a float Gemm of it and the Add of its two axes"


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


def _gemm_factors(node: ir.Node) -> tuple[float, float]:
    return node.attributes.get_float("alpha", 1.0), node.attributes.get_float("beta", 1.0)


def _joins_residual(linear: Linear) -> bool:
    """Whether a product of two axes goes straight into an Add that is no constant bias."""
    product = linear.node.outputs[0]
    readers = {use.node.op_type for use in product.uses()}
    return linear.bias is None and "Add" in readers and (product.shape is None or len(product.shape) < 3)


def target(name: str) -> Target:
    """The row of ``name``.

    Raises:
        TargetError: there is none.
    """
    try:
        return TARGETS[name]
    except KeyError:
        raise TargetError(f"unknown target {name!r}: choose one of {', '.join(TARGETS)}") from None
