"""A process that damages models and runs each verb on them; one number a line comes in, one JSON a line goes out.

It is a script: `tests/fuzz/pool.py` starts it, with a limit of its memory, and kills it when it takes too long.
"""

import io
import json
import resource
import sys
import tempfile
import time
import traceback
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import numpy as np

from requant.cli.run import run
from tests.fuzz.mutations import mutated
from tests.fuzz.seeds import seeds

LIMIT = 4 * 2**30
"""Bytes of memory."""

_CHOICES = (("cpu", "int8"), ("tensorrt", "int8"), ("cpu", "int8-weight"), ("cpu", "int8-dynamic"), ("tensorrt", "fp8"))


def main() -> None:
    """Serve until the input ends."""
    resource.setrlimit(resource.RLIMIT_AS, (LIMIT, LIMIT))
    answers, sys.stdout = sys.stdout, sys.stderr
    for line in sys.stdin:
        print(json.dumps(_judge(int(line))), file=answers, flush=True)


def _judge(number: int) -> dict[str, object]:
    rng = np.random.default_rng(number)
    data, kinds = mutated(seeds()[number % len(seeds())], rng)
    target, recipe = _CHOICES[rng.integers(len(_CHOICES))]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "m.onnx").write_bytes(data)
        (folder / "w.bin").write_bytes(bytes(4096))
        model, out = str(folder / "m.onnx"), str(folder / "out.onnx")
        verbs = (
            ["inspect", model],
            ["check", model, "-t", target],
            ["check", model, "-t", target, "--fix", "-o", out],
            ["optimize", model, "-t", target, "--recipe", recipe, "-o", out],
        )
        return {"number": number, "kinds": kinds, "runs": [_run(verb, folder) for verb in verbs]}


def _run(verb: list[str], folder: Path) -> dict[str, object]:
    out, err = io.StringIO(), io.StringIO()
    start = time.perf_counter()
    problem = ""
    with redirect_stdout(out), redirect_stderr(err):
        try:
            code = run(verb)
        except BaseException:
            code, problem = -1, traceback.format_exc()
    lines = [line for line in err.getvalue().splitlines() if not line.startswith("warning:")]
    written = {file.name for file in folder.iterdir()} - {"m.onnx", "w.bin"}
    for name in written:
        (folder / name).unlink()
    if not problem and code == 2:
        if len(lines) != 1:
            problem = f"{len(lines)} lines: {lines[:3]}"
        if written:
            problem = f"left behind: {written}"
    if any((ord(letter) < 32 and letter != "\n") or ord(letter) in range(127, 160) for letter in out.getvalue()):
        problem = "control characters"
    seconds = time.perf_counter() - start
    return {
        "verb": verb[0] + ("-fix" if "--fix" in verb else ""),
        "code": code,
        "said": lines[-1:],
        "problem": problem,
        "seconds": seconds,
    }


if __name__ == "__main__":
    main()
