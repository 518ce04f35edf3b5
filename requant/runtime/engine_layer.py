"""The layers of an engine, whichever it is: the tensors that each reads and writes, and their bytes."""

from dataclasses import dataclass
from math import inf, prod

from ..errors import TargetError

WIDTHS = {
    "float64": 8.0, "float32": 4.0, "float16": 2.0, "bfloat16": 2.0, "fp8": 1.0, "fp4": 0.5, "e8m0": 1.0,
    "int64": 8.0, "int32": 4.0, "int16": 2.0, "int8": 1.0, "int4": 0.5, "bool": 1.0,
    "uint64": 8.0, "uint32": 4.0, "uint16": 2.0, "uint8": 1.0, "uint4": 0.5,
}  # fmt: skip
"""Bytes of an element, by its type."""


@dataclass(frozen=True)
class EngineTensor:
    """A tensor that a layer reads or writes: its name in the engine, its shape and its type, a key of `WIDTHS`."""

    name: str
    shape: tuple[int, ...]
    dtype: str

    @property
    def elements(self) -> int:
        """The number of its elements; negative where a dimension is dynamic."""
        return prod(self.shape) if min(self.shape, default=1) >= 0 else -1

    @property
    def nbytes(self) -> float:
        """Its size in bytes; infinite where a dimension is dynamic.

        Raises:
            TargetError: the type is unknown.
        """
        if self.dtype not in WIDTHS:
            raise TargetError(f"the engine has {self.name!r} in {self.dtype!r}, which has no size here")
        return self.elements * WIDTHS[self.dtype] if self.elements >= 0 else inf


@dataclass(frozen=True)
class EngineLayer:
    """A layer of an engine, which is a kernel: its tensors, and the names of the ONNX nodes that it came from."""

    name: str
    kind: str
    inputs: tuple[EngineTensor, ...]
    constants: tuple[EngineTensor, ...]
    outputs: tuple[EngineTensor, ...]
    nodes: tuple[str, ...]

    @property
    def nbytes(self) -> float:
        """The bytes that it reads and writes, each tensor once and whole; infinite where shapes are dynamic."""
        return sum(tensor.nbytes for tensor in dict.fromkeys((*self.inputs, *self.constants, *self.outputs)))
