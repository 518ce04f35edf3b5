"""The old place of `requant.ir.formats`, for one version."""

from ..deprecation import deprecated
from ..ir.formats import (
    FP8,
    INT8,
    INT8_DYNAMIC,
    INT8_WEIGHT,
    Format,
    int4_weight,
)

__all__ = ["FP8", "INT8", "INT8_DYNAMIC", "INT8_WEIGHT", "Format", "int4_weight"]

deprecated("requant.runtime.formats", "requant.ir.formats")
