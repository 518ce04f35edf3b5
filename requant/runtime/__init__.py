"""The engines: what each target takes, sessions, TensorRT engines, verification, comparison, the checker, latency."""

from .build_engine import build_engine
from .check import Finding, check
from .compare import Comparison, compare
from .distance import Distance
from .fix import Fixed, Mended, fix
from .placement import FallbackError, FallbackWarning
from .session import runner, session
from .targets import TARGETS, Target
from .verify import verify

__all__ = [
    "TARGETS",
    "Comparison",
    "Distance",
    "FallbackError",
    "FallbackWarning",
    "Finding",
    "Fixed",
    "Mended",
    "Target",
    "build_engine",
    "check",
    "compare",
    "fix",
    "runner",
    "session",
    "verify",
]
