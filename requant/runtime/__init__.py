"""The engines: what each target takes, sessions, TensorRT engines, verification, comparison, the checker, latency."""

import warnings

from .check import Finding, check
from .compare import Comparison, compare
from .distance import Distance
from .fix import AppliedFix, FixResult, fix
from .ort.placement import FallbackError, FallbackWarning
from .session import runner, session
from .targets import TARGETS, Target
from .trt.build_engine import build_engine
from .verify import verify

__all__ = [
    "TARGETS",
    "AppliedFix",
    "Comparison",
    "Distance",
    "FallbackError",
    "FallbackWarning",
    "Finding",
    "FixResult",
    "Target",
    "build_engine",
    "check",
    "compare",
    "fix",
    "runner",
    "session",
    "verify",
]

_RENAMED = {"Fixed": FixResult, "Mended": AppliedFix}


def __getattr__(name: str) -> object:
    if name in _RENAMED:
        current = _RENAMED[name]
        warnings.warn(f"{name} is called {current.__name__} now", DeprecationWarning, stacklevel=2)
        return current
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
