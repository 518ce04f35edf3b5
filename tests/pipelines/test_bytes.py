"""Equal inputs and versions give equal files: in another process, folder and order of hashes, with other threads."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest

from models import synthetic

SPEC = synthetic.Transformer(layers=1, width=32, hidden=64)
COMMAND = "from requant.cli import main; main()"


def written(folder: Path, target: str, *, seed: int, threads: int) -> bytes:
    """What `requant optimize` writes in a process of its own, with its files in ``folder``."""
    folder.mkdir()
    onnx.save(synthetic.pre_norm(SPEC), folder / "model.onnx")
    np.savez(folder / "data.npz", x=np.concatenate([feed["x"] for feed in synthetic.feeds(SPEC, 4)]))
    model, data, out = (str(folder / name) for name in ("model.onnx", "data.npz", "out.onnx"))
    subprocess.run(
        [sys.executable, "-c", COMMAND, "optimize", model, "-c", data, "-t", target, "-o", out],
        env=os.environ | {"PYTHONHASHSEED": str(seed), "OMP_NUM_THREADS": str(threads)},
        check=True,
        capture_output=True,
    )
    return (folder / "out.onnx").read_bytes()


@pytest.mark.parametrize("target", ["cpu", "tensorrt"])
def test_two_processes_write_the_same_bytes(tmp_path: Path, target: str) -> None:
    first = written(tmp_path / "first", target, seed=0, threads=1)
    assert b"QuantizeLinear" in first
    assert written(tmp_path / "second", target, seed=7, threads=2) == first
