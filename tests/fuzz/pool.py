"""Workers that judge damaged models side by side, each in a process with a limit of memory and of time."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
WORKER = Path(__file__).with_name("worker.py")

LONGEST = 30.0
"""Seconds that a verb may take."""


@dataclass
class _Worker:
    """A process of `worker.py`, started when there is something to do and again after it was killed."""

    process: "subprocess.Popen[str] | None" = None
    errors: list[str] = field(default_factory=list)

    def judge(self, number: int) -> dict[str, Any]:
        if self.process is None or self.process.poll() is not None:
            self.process = _start()
        process = self.process
        assert process.stdin is not None
        assert process.stdout is not None
        timer = threading.Timer(4 * LONGEST, process.kill)
        timer.start()
        try:
            process.stdin.write(f"{number}\n")
            process.stdin.flush()
            answer = process.stdout.readline()
        except BrokenPipeError:
            answer = ""
        finally:
            timer.cancel()
        if answer:
            return dict(json.loads(answer))
        return {
            "number": number,
            "kinds": "",
            "runs": [{"verb": "", "problem": f"died ({process.wait()})", "seconds": 0.0}],
        }

    def stop(self) -> None:
        if self.process is not None and self.process.stdin is not None:
            self.process.stdin.close()
            self.process.wait(60)
            if self.process.stdout is not None:
                self.process.stdout.close()


def _start() -> "subprocess.Popen[str]":
    paths = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, str(WORKER)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        text=True, env=environment,
    )  # fmt: skip


def judged(numbers: Iterable[int], workers: int = 2) -> Iterator[dict[str, Any]]:
    """What each verb made of each damaged model."""
    local, all_workers = threading.local(), list[_Worker]()

    def judge(number: int) -> dict[str, Any]:
        if not hasattr(local, "worker"):
            local.worker = _Worker()
            all_workers.append(local.worker)
        answer: dict[str, Any] = local.worker.judge(number)
        return answer

    with ThreadPoolExecutor(workers) as pool:
        yield from pool.map(judge, numbers)
    for worker in all_workers:
        worker.stop()


def problems(answer: dict[str, Any]) -> list[str]:
    """What is wrong with a judgement: a traceback, a death, more than one line, something left behind, a long wait."""
    found = []
    for run in answer["runs"]:
        slow = f"took {run['seconds']:.0f} s" if run["seconds"] > LONGEST else ""
        if problem := run["problem"] or slow:
            found.append(f"{answer['number']} ({answer['kinds']}) {run['verb']}: {problem}")
    return found
