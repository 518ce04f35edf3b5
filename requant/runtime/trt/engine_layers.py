"""The layers of an engine as its builder lists them, at the end of a log with detailed verbosity: one line a layer.

    Name: fc1_myl0_3, LayerType: gemm, Inputs: [ { Name: x, Dimensions: [8,384], Strides: …, Datatype: Int8, … }],
    Constants: [ … ], Outputs: [ … ], TacticName: …, StreamId: 0, Metadata: [ONNX Layer: fc1]␟[ONNX Layer: gelu]

Read from TensorRT-RTX 1.7.1. The inspector of an engine says the same, but only where there is a GPU to load it on.
"""

import re
from collections.abc import Iterable, Iterator

from ..engine_layer import EngineLayer, EngineTensor

TYPES = {
    "Float": "float32", "Half": "float16", "BFloat16": "bfloat16", "FP8": "fp8", "FP4": "fp4", "E8M0": "e8m0",
    "Int64": "int64", "Int32": "int32", "Int8": "int8", "UInt8": "uint8", "Int4": "int4", "Bool": "bool",
}  # fmt: skip
"""The type of a tensor by the builder's name of it."""

_LAYER = re.compile(
    r"^Name: (?P<name>.*?), LayerType: (?P<kind>[^,]*), Inputs: \[(?P<inputs>.*?)\], "
    r"(?:Constants: \[(?P<constants>.*?)\], )?Outputs: \[(?P<outputs>.*?)\], TacticName: .*?Metadata: (?P<metadata>.*)$"
)
_TENSOR = re.compile(r"\{ Name: (?P<name>.*?), Dimensions: \[(?P<dims>[-\d,]*)\],.*?Datatype: (?P<dtype>[^,]*),")
_NODE, _BETWEEN = "[ONNX Layer: ", "]\x1f[ONNX Layer: "


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
        yield EngineTensor(match["name"], dims, TYPES.get(match["dtype"], match["dtype"]))
