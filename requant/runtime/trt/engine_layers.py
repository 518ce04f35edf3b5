"""The layers of an engine as its builder lists them, at the end of a log with detailed verbosity: one line a layer.

    Name: fc1_myl0_3, LayerType: gemm, Inputs: [ { Name: x, Dimensions: [8,384], Strides: …, Datatype: Int8, … }],
    Constants: [ … ], Outputs: [ … ], TacticName: …, StreamId: 0, Metadata: [ONNX Layer: fc1]␟[ONNX Layer: gelu]

Read from TensorRT-RTX 1.7.1. The inspector of an engine says the same, but only where there is a GPU to load it on.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from math import inf, prod

from ...errors import TargetError

WIDTHS = {
    "Float": 4.0, "Half": 2.0, "BFloat16": 2.0, "Int8": 1.0, "FP8": 1.0, "UInt8": 1.0, "Bool": 1.0,
    "Int32": 4.0, "Int64": 8.0, "Int4": 0.5, "FP4": 0.5, "E8M0": 1.0,
}  # fmt: skip
"""Bytes of an element, by the builder's name of its type."""

_LAYER = re.compile(
    r"^Name: (?P<name>.*?), LayerType: (?P<kind>[^,]*), Inputs: \[(?P<inputs>.*?)\], "
    r"(?:Constants: \[(?P<constants>.*?)\], )?Outputs: \[(?P<outputs>.*?)\], TacticName: .*?Metadata: (?P<metadata>.*)$"
)
_TENSOR = re.compile(r"\{ Name: (?P<name>.*?), Dimensions: \[(?P<dims>[-\d,]*)\],.*?Datatype: (?P<dtype>[^,]*),")
_NODE, _BETWEEN = "[ONNX Layer: ", "]\x1f[ONNX Layer: "


@dataclass(frozen=True)
class EngineTensor:
    """A tensor that a layer reads or writes: its name in the engine, its shape and the builder's name of its type."""

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
            raise TargetError(
                f"the builder's list of layers has {self.name!r} in {self.dtype!r}, which has no size here"
            )
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


def engine_layers(log: Iterable[str]) -> tuple[EngineLayer, ...]:
    """Read the layers from the messages of a ``log``, in the order in which they run; none where it lists none."""
    lines = (line for message in log for line in message.split("\n"))
    return tuple(_layer(match) for match in map(_LAYER.match, lines) if match)


def _layer(match: re.Match[str]) -> EngineLayer:
    inputs, constants, outputs = (tuple(_tensors(match[part])) for part in ("inputs", "constants", "outputs"))
    names = match["metadata"].removeprefix(_NODE).removesuffix("]")
    return EngineLayer(
        match["name"], match["kind"], inputs, constants, outputs, tuple(names.split(_BETWEEN)) if names else ()
    )


def _tensors(text: str | None) -> Iterator[EngineTensor]:
    for match in _TENSOR.finditer(text or ""):
        dims = tuple(int(dim) for dim in match["dims"].split(",") if dim)
        yield EngineTensor(match["name"], dims, match["dtype"])
