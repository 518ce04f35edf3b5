"""What a quantized graph is made of: Q and DQ nodes, and the linear layers between them."""

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from ...ir.constants import array


@dataclass(frozen=True)
class Step:
    """A QuantizeLinear or DequantizeLinear node; ``codes`` is its integer (or 8-bit float) type.

    ``fixed`` says that its input is known before the first run: a weight or a bias, not an activation.
    """

    node: ir.Node
    codes: ir.DataType
    fixed: bool

    @property
    def quantizes(self) -> bool:
        """Whether it is a QuantizeLinear."""
        return self.node.op_type == "QuantizeLinear"

    @property
    def scale(self) -> NDArray[np.generic] | None:
        """The scale, or None when it is computed at run time."""
        return _numbers(self.node.inputs[1])

    @property
    def zero_point(self) -> NDArray[np.generic] | None:
        """The zero point, or None when it is left out (0) or computed at run time."""
        return _numbers(self.node.inputs[2]) if len(self.node.inputs) > 2 else None


@dataclass(frozen=True)
class Operand:
    """What a linear layer multiplies.

    ``step`` is the DQ that it comes from, through MOVERS, or None when it is float; ``direct`` says that no
    mover is between. ``axis`` is the operand's axis along which the scale varies, None when it does not or
    when a mover lost the axis; ``out_axis`` is the axis along which the integer kernel can take scales.
    """

    step: Step | None
    fixed: bool
    direct: bool
    axis: int | None
    out_axis: int


@dataclass(frozen=True)
class Layer:
    """A MatMul, Gemm, Conv or ConvTranspose and its two operands, of which one at least is an activation."""

    node: ir.Node
    operands: tuple[Operand, Operand]

    @property
    def steps(self) -> list[Step]:
        """The DQs of its operands."""
        return [operand.step for operand in self.operands if operand.step]

    @property
    def weight(self) -> Operand | None:
        """The operand that is known before the first run, or None in a product of two activations."""
        return next((operand for operand in self.operands if operand.fixed), None)


def _numbers(value: ir.Value | None) -> NDArray[np.generic] | None:
    """The constant in ``value``, or None when there is none or it is text."""
    found = array(value)
    return None if found is None or found.dtype.kind in "OSU" else found
