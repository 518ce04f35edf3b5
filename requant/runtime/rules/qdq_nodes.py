"""The parts of a quantized graph: Q and DQ nodes, and the linear layers between them."""

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from ...ir.constants import array


@dataclass(frozen=True)
class QdqNode:
    """A QuantizeLinear or DequantizeLinear node; ``dtype`` is its integer (or 8-bit float) type.

    ``constant`` says that its input does not depend on the model's inputs: a weight or a bias, not an activation.
    """

    node: ir.Node
    dtype: ir.DataType
    constant: bool

    @property
    def quantizes(self) -> bool:
        """Tell whether it is a QuantizeLinear."""
        return self.node.op_type == "QuantizeLinear"

    @property
    def integers(self) -> ir.Value | None:
        """The quantized value: the output of a QuantizeLinear, the input of a DequantizeLinear."""
        return self.node.outputs[0] if self.quantizes else self.node.inputs[0]

    @property
    def scale(self) -> NDArray[np.generic] | None:
        """The scale, or None when it is computed at run time."""
        return _numbers(self.node.inputs[1])

    @property
    def zero_point(self) -> NDArray[np.generic] | None:
        """The zero point, or None when it is left out (0) or computed at run time."""
        return _numbers(self.node.inputs[2]) if len(self.node.inputs) > 2 else None


@dataclass(frozen=True)
class ProductOperand:
    """An operand of a linear layer.

    ``dequantizer`` is the DQ that it comes from, through MOVERS, or None when it is float; ``direct`` says that no
    mover is between. ``axis`` is the operand's axis along which the scale varies, None when it does not or
    when a mover lost the axis; ``out_axis`` is the axis along which the integer kernel can take scales.
    """

    dequantizer: QdqNode | None
    constant: bool
    direct: bool
    axis: int | None
    out_axis: int


@dataclass(frozen=True)
class Layer:
    """A MatMul, Gemm, Conv or ConvTranspose and its two operands, of which one at least is an activation."""

    node: ir.Node
    operands: tuple[ProductOperand, ProductOperand]

    @property
    def dequantizers(self) -> list[QdqNode]:
        """The DQs of its operands."""
        return [operand.dequantizer for operand in self.operands if operand.dequantizer]

    @property
    def weight(self) -> ProductOperand | None:
        """The constant operand, or None in a product of two activations."""
        return next((operand for operand in self.operands if operand.constant), None)


def _numbers(value: ir.Value | None) -> NDArray[np.generic] | None:
    """Return the constant in ``value``, or None when there is none or it is text."""
    constant = array(value)
    return None if constant is None or constant.dtype.kind in "OSU" else constant
