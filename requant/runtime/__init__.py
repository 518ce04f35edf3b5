"""The engines: what each target takes, sessions, TensorRT engines, verification, comparison, the checker, latency."""

from ..deprecation import renamed
from .check import Finding, check
from .compare import Comparison, compare
from .distance import Distance
from .fix import AppliedFix, FixResult, fix
from .ort.placement import FallbackError, FallbackWarning
from .session import runner, session
from .tally import EngineTally, SessionTally, Tally, tally
from .targets import TARGETS, Target
from .trt.build_engine import build_engine
from .verify import verify

__all__ = [
    "TARGETS",
    "AppliedFix",
    "Comparison",
    "Distance",
    "EngineTally",
    "FallbackError",
    "FallbackWarning",
    "Finding",
    "FixResult",
    "SessionTally",
    "Tally",
    "Target",
    "build_engine",
    "check",
    "compare",
    "fix",
    "runner",
    "session",
    "tally",
    "verify",
]

__getattr__ = renamed(globals(), {"Fixed": "FixResult", "Mended": "AppliedFix"})
