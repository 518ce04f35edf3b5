"""Equal inputs and versions give equal files: in another process, folder and order of hashes, with other threads."""

import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import numpy as np
import onnx
import pytest

from models import synthetic
from requant.runtime.versions import parsed

SPEC = synthetic.Transformer(layers=1, width=64, hidden=128)
COMMAND = "from requant.cli.run import main; main()"
ONE_CORE = "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))}); "
BLAS_AGREES = parsed(version("numpy")) >= parsed("2.1")
"""False where numpy's OpenBLAS is 0.3.26: with one thread it rounds otherwise if it was loaded with several."""
BLAS = "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"


def written(folder: Path, target: str, *, seed: int, threads: int, before: str = "") -> bytes:
    """What `requant optimize` writes in a process of its own, with its files in ``folder``."""
    folder.mkdir()
    onnx.save(synthetic.pre_norm(SPEC), folder / "model.onnx")
    np.savez(folder / "data.npz", x=np.concatenate([feed["x"] for feed in synthetic.feeds(SPEC, 12)]))
    model, data, out = (str(folder / name) for name in ("model.onnx", "data.npz", "out.onnx"))
    subprocess.run(
        [sys.executable, "-c", before + COMMAND, "optimize", model, "-c", data, "-t", target, "-o", out],
        env=os.environ | {"PYTHONHASHSEED": str(seed)} | dict.fromkeys(BLAS, str(threads)),
        check=True,
        capture_output=True,
    )
    return (folder / "out.onnx").read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize("target", ["cpu", "tensorrt"])
def test_two_processes_write_the_same_bytes(tmp_path: Path, target: str) -> None:
    first = written(tmp_path / "first", target, seed=0, threads=1)
    assert b"QuantizeLinear" in first
    one_core = ONE_CORE if hasattr(os, "sched_setaffinity") else ""
    assert written(tmp_path / "second", target, seed=7, threads=2, before=one_core) == first
    if BLAS_AGREES:
        assert written(tmp_path / "third", target, seed=7, threads=4) == first
