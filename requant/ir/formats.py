"""Number formats: what the two operands of a linear layer are coded in."""

from dataclasses import dataclass, replace

import onnx_ir as ir

from ..errors import RequantError


@dataclass(frozen=True)
class Format:
    """How a linear layer's data and weight are coded.

    Attributes:
        activations: the type of the data's codes, or None when the data stay in float.
        weights: the type of the weight's codes.
        bits: width of integer codes; fewer than the type has are simulated by a Clip before each quantizer.
        block: how many rows of a weight share a scale, 0 for all of them.
        dynamic: whether the data's scale is computed at run time, from the data.
    """

    activations: ir.DataType | None = ir.DataType.INT8
    weights: ir.DataType = ir.DataType.INT8
    bits: int = 8
    block: int = 0
    dynamic: bool = False

    @property
    def opset(self) -> int:
        """The lowest ONNX opset that has such codes."""
        if self.block or self.weights.bitwidth < 8:
            return 21
        return 19 if self.weights.is_floating_point() else 17

    @property
    def static(self) -> bool:
        """Whether the data's scale comes from calibration."""
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
    """Weights of 4 bits with a scale for each ``block`` rows of a column, and a zero point where not ``symmetric``."""
    return Format(None, ir.DataType.INT4 if symmetric else ir.DataType.UINT4, 4, block)


CARRIED = (
    "int8 by int8",
    "dynamic int8 by int8",
    "float8e4m3fn by float8e4m3fn",
    "float by int8",
    "float by int4",
    "float by uint4",
)
"""The types of data and weights, as `str` of a format names them, that some engine multiplies."""


def require_carried(chosen: Format) -> None:
    """Raise RequantError for a format for which no engine has a kernel, whatever the layer."""
    if not isinstance(chosen, Format):
        raise RequantError(f"{chosen!r} is no format: choose one of {', '.join(CARRIED)}")
    if str(replace(chosen, block=0)) not in CARRIED:
        raise RequantError(f"no engine multiplies {chosen}: choose one of {', '.join(CARRIED)}")
    widest = chosen.weights.bitwidth
    if not 2 <= chosen.bits <= widest:
        raise RequantError(f"{chosen} has {chosen.bits} bits: choose 2 to {widest}")
    if chosen.block and chosen.activations is not None:
        raise RequantError(f"no engine multiplies {chosen}: blocks are for weights by float data")
    if chosen.block < 0:
        raise RequantError(f"{chosen} has blocks of {chosen.block}: choose 0 for none, or a power of two from 16")


def _name(dtype: ir.DataType) -> str:
    return dtype.name.lower()
