"""requant: a compiler for quantized ONNX.

`optimize` turns an exported float graph into one that an engine runs in int8. First it rescales and shifts activation
channels (SmoothQuant-style equivalent transformations, folded into norms and weights), so that symmetric per-tensor
int8 loses little accuracy. `inspect`, `check`, `check_build`, `compare` and `benchmark` look at it; `fix`
repairs it.
"""

from .advice import Advice, advise
from .api import Inspection, benchmark, check, compare, fix, inspect
from .check_build import BuildCheck, BuildOptions, check_build
from .errors import (
    BuildError,
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
    "Advice",
    "BuildCheck",
    "BuildError",
    "BuildOptions",
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
    "advise",
    "benchmark",
    "check",
    "check_build",
    "compare",
    "fix",
    "inspect",
    "measure_prices",
    "optimize",
]
