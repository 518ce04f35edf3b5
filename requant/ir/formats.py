"""Number formats: the types in which the two operands of a linear layer are quantized."""

from dataclasses import dataclass, replace
from typing import NamedTuple

import onnx_ir as ir

from ..errors import RequantError


@dataclass(frozen=True)
class Format:
    """A quantization format of a linear layer's data and weight.

    Attributes:
        activations: the type of the quantized data, or None for weight-only quantization.
        weights: the type of the quantized weight.
        bits: width of integers; fewer than the type has are simulated by a Clip before each quantizer.
        block: the number of rows of a weight that share a scale, 0 for all of them.
        dynamic: True where the data's scale is computed at run time, from the data.
    """

    activations: ir.DataType | None = ir.DataType.INT8
    weights: ir.DataType = ir.DataType.INT8
    bits: int = 8
    block: int = 0
    dynamic: bool = False

    @property
    def opset(self) -> int:
        """The lowest ONNX opset whose QuantizeLinear writes the format."""
        if self.block or self.weights.bitwidth < 8:
            return 21
        return 19 if self.weights.is_floating_point() else 17

    @property
    def static(self) -> bool:
        """True where the data's scale comes from calibration."""
        return self.activations is not None and not self.dynamic

    def __str__(self) -> str:
        data = "float" if self.activations is None else ("dynamic " if self.dynamic else "") + _name(self.activations)
        blocks = f" in blocks of {self.block}" if self.block else ""
        return f"{data} by {_name(self.weights)}{blocks}"


INT8 = Format()
FP8 = Format(ir.DataType.FLOAT8E4M3FN, ir.DataType.FLOAT8E4M3FN)
INT8_DYNAMIC = Format(dynamic=True)
INT8_WEIGHT = Format(activations=None)


def int4_weight(block: int = 64, *, symmetric: bool = True) -> Format:
    """Make a weight-only format of 4 bits, with a scale (and zero point) for each ``block`` rows of a column."""
    return Format(None, ir.DataType.INT4 if symmetric else ir.DataType.UINT4, 4, block)


SUPPORTED = (
    "int8 by int8",
    "dynamic int8 by int8",
    "float8e4m3fn by float8e4m3fn",
    "float by int8",
    "float by int4",
    "float by uint4",
)
"""The formats, as `str` of a format names them, for which some engine has a kernel."""


def require_supported(layer_format: Format) -> None:
    """Raise RequantError for a format for which no engine has a kernel, whatever the layer."""
    if not isinstance(layer_format, Format):
        raise RequantError(f"{layer_format!r} is not a format: choose one of {', '.join(SUPPORTED)}")
    if str(replace(layer_format, block=0)) not in SUPPORTED:
        raise RequantError(f"no engine supports {layer_format}: choose one of {', '.join(SUPPORTED)}")
    widest = layer_format.weights.bitwidth
    if not 2 <= layer_format.bits <= widest:
        raise RequantError(f"{layer_format} cannot have {layer_format.bits} bits: choose 2 to {widest}")
    if layer_format.block and layer_format.activations is not None:
        raise RequantError(f"no engine supports {layer_format}: blocks need weight-only quantization")
    if layer_format.block < 0:
        raise RequantError(
            f"{layer_format} cannot have blocks of {layer_format.block}: choose 0, or a power of two from 16"
        )


def _name(dtype: ir.DataType) -> str:
    return dtype.name.lower()


class ActivationType(NamedTuple):
    """The type in which an engine takes quantized activations, and the integer that stands for 0 in it."""

    dtype: ir.DataType
    zero_point: int = 0
