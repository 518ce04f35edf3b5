"""Lists of layers that the builder of TensorRT-RTX 1.7.1 wrote into its log, for compute capability 8.9."""

from pathlib import Path


def listing(name: str) -> str:
    """Read the list of layers called ``name``."""
    return (Path(__file__).parent / f"{name}.txt").read_text(encoding="utf-8")
