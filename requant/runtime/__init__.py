"""The engines: what each target takes, sessions, verification, comparison, the checker, latency."""

from .check import Finding, check
from .compare import Comparison, Distance, compare
from .session import session
from .targets import TARGETS, Target
from .verify import verify

__all__ = ["TARGETS", "Comparison", "Distance", "Finding", "Target", "check", "compare", "session", "verify"]
