"""Progress of `requant.optimize`: its stages, a callback, and the time that each takes."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

STAGES = ("load", "analyse", "calibrate", "verify", "rewrite", "plan", "judge", "lower", "measure", "build", "save")
"""What `optimize` goes through, in order."""

Progress = Callable[[str, int], None]
"""Told the stage and how many steps of it are done."""


@dataclass
class Stopwatch:
    """A timer that reports each stage to ``progress`` and keeps its ``seconds``."""

    progress: Progress
    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        """Make a context that lasts as long as ``stage`` does."""
        self.progress(stage, 0)
        start = time.perf_counter()
        yield
        self.seconds[stage] = self.seconds.get(stage, 0.0) + time.perf_counter() - start
