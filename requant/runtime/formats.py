"""The old place of `requant.ir.formats`, for one version."""

import warnings

from ..ir.formats import (
    FP8,
    INT8,
    INT8_DYNAMIC,
    INT8_WEIGHT,
    Format,
    int4_weight,
)

__all__ = ["FP8", "INT8", "INT8_DYNAMIC", "INT8_WEIGHT", "Format", "int4_weight"]

warnings.warn("requant.runtime.formats is requant.ir.formats now", DeprecationWarning, stacklevel=2)
