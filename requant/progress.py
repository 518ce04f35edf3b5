"""Progress of `requant.optimize`: its stages, a callback, and the time that each takes."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TypeVar

_Item = TypeVar("_Item")

STAGES = ("load", "analyse", "calibrate", "verify", "rewrite", "plan", "judge", "lower", "measure", "build", "save")
"""What `optimize` goes through, in order."""

Progress = Callable[[str, int], None]
"""Told the stage and how many steps of it are done; `Steps` where it is known of how many."""


class Steps(int):
    """A number of steps that are done, which knows the ``total``: callbacks that want a number have one."""

    total: int

    def __new__(cls, done: int, total: int) -> "Steps":
        """Return ``done`` of ``total``."""
        steps = super().__new__(cls, done)
        steps.total = total
        return steps


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

    def steps(self, stage: str, items: Sequence[_Item]) -> Iterator[_Item]:
        """Iterate over ``items`` and tell of each that is done as a step of ``stage``."""
        for done, item in enumerate(items):
            self.progress(stage, Steps(done, len(items)))
            yield item
