"""requant: a compiler for quantized ONNX.

`optimize` turns an exported float graph into one that an engine runs in int8. First it rescales and shifts activation
channels (SmoothQuant-style equivalent transformations, folded into norms and weights), so that symmetric per-tensor
int8 loses little accuracy. `inspect`, `check`, `compare` and `benchmark` look at it; `fix` repairs it.
"""

from .api import Inspection, benchmark, check, compare, fix, inspect
from .errors import (
    CalibrationWarning,
    DataError,
    OutputError,
    RequantError,
    SourceError,
    SyntheticCalibrationWarning,
    TargetError,
    TargetWarning,
    VerificationError,
)
from .optimize import optimize
from .pricing.measure_prices import measure_prices
from .recipe import Recipe
from .report import Report
from .result import Result

__all__ = [
    "CalibrationWarning",
    "DataError",
    "Inspection",
    "OutputError",
    "Recipe",
    "Report",
    "RequantError",
    "Result",
    "SourceError",
    "SyntheticCalibrationWarning",
    "TargetError",
    "TargetWarning",
    "VerificationError",
    "benchmark",
    "check",
    "compare",
    "fix",
    "inspect",
    "measure_prices",
    "optimize",
]
