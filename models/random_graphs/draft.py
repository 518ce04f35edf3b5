"""The producer that random graphs share: nodes, parameters that are reused now and then, and seeded choices."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, TypeVar

import numpy as np
import onnx
from numpy.typing import ArrayLike, NDArray
from onnx import TensorProto, helper, numpy_helper

T = TypeVar("T")
Attribute = int | float | str | Sequence[int] | onnx.GraphProto

BATCH = 2
"""Samples in a feed, whether the graph declares the dimension dynamic or not."""

REUSED = 0.12
"""How often a parameter is one of the same shape that the graph has already."""


class Stream(NamedTuple):
    """A value of shape [batch, tokens, width]."""

    name: str
    tokens: int
    width: int


@dataclass(frozen=True)
class RandomGraph:
    """A float32 model and its input."""

    model: onnx.ModelProto
    x: NDArray[np.generic]


@dataclass(frozen=True)
class Widths:
    """The numbers of channels to choose from: of streams, between two layers, and of a head."""

    streams: tuple[int, ...] = (4, 6, 8)
    inner: tuple[int, ...] = (4, 6, 8)
    heads: tuple[int, ...] = (2, 4)


NARROW = Widths()
"""Widths that are quick to compute by."""

WIDE = Widths((16, 24, 32), (17, 24, 31, 40), (8, 12))
"""Widths that engines have integer kernels for."""


@dataclass
class Draft:
    """A graph that is being written.

    ``streams`` are the values between blocks so far, ``sides`` others that may be read again, ``extra`` the outputs
    beside the last stream. ``widths`` are those to choose from. ``parameters`` may be reused. ``indices`` are what
    embeddings are looked up by, if there are any. ``declared`` has the shapes that nobody infers, those of ONNX
    Runtime's own ops.
    """

    rng: np.random.Generator
    opset: int
    dynamic: bool
    widths: Widths = NARROW
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    tensors: list[onnx.TensorProto] = field(default_factory=list)
    streams: list[Stream] = field(default_factory=list)
    sides: list[Stream] = field(default_factory=list)
    extra: list[str] = field(default_factory=list)
    indices: Stream | None = None
    parameters: dict[str, tuple[int, ...]] = field(default_factory=dict)
    declared: dict[str, list[int | str]] = field(default_factory=dict)

    def op(self, op_type: str, *inputs: str, **attributes: Attribute) -> str:
        """Append a node with one output; "com.microsoft.X" is an op of that domain."""
        return self.ops(1, op_type, *inputs, **attributes)[0]

    def ops(self, outputs: int, op_type: str, *inputs: str, **attributes: Attribute) -> list[str]:
        """Append a node; returns its outputs."""
        domain, _, kind = op_type.rpartition(".")
        names = [f"n{len(self.nodes)}" + (f".{index}" if index else "") for index in range(outputs)]
        node = helper.make_node(kind, inputs, names, f"{names[0]}.{kind}", domain=domain)
        node.attribute.extend(helper.make_attribute(key, value) for key, value in attributes.items())
        self.nodes.append(node)
        return names

    def either(self, op_type: str, a: str, b: str) -> str:
        """A node with two inputs, in any order."""
        return self.op(op_type, *((a, b) if self.chance(0.5) else (b, a)))

    def chance(self, probability: float) -> bool:
        """Whether something of that probability happens."""
        return bool(self.rng.random() < probability)

    def pick(self, options: Sequence[T]) -> T:
        """One of ``options``."""
        return options[int(self.rng.integers(len(options)))]

    def constant(self, data: ArrayLike) -> str:
        """An int64 or float32 constant that nobody else reads."""
        array, name = np.asarray(data), f"c{len(self.tensors)}"
        kind = np.int64 if array.dtype.kind == "i" else np.float32
        self.tensors.append(numpy_helper.from_array(array.astype(kind), name))
        return name

    def parameter(self, *shape: int, fan: int = 1, size: float = 1.0, centre: float = 0.0) -> str:
        """Normal draws times size / sqrt(fan), plus centre; or what has that shape already."""
        known = [name for name, other in self.parameters.items() if other == shape]
        if known and self.chance(REUSED):
            return self.pick(known)
        name = self.constant(self.rng.standard_normal(shape) * size / fan**0.5 + centre)
        self.parameters[name] = shape
        return name

    def reduce(self, op_type: str, x: str, axis: int) -> str:
        """A reduction along one axis, which is kept."""
        return self.op(op_type, x, self.constant([axis]))

    def reshape(self, x: str, *shape: int) -> str:
        """Reshape, where 0 keeps a dimension."""
        return self.op("Reshape", x, self.constant(shape))

    def transpose(self, x: str, *perm: int) -> str:
        """Transpose."""
        return self.op("Transpose", x, perm=perm)

    def slice(self, x: str, axis: int, start: int, end: int, step: int = 1) -> str:
        """x[start:end:step] along ``axis``."""
        return self.op("Slice", x, *(self.constant([bound]) for bound in (start, end, axis, step)))

    def split(self, x: str, parts: int, axis: int, size: int) -> list[str]:
        """Equal parts of an axis of length ``parts * size``, by Split or by Slices."""
        if self.chance(0.3):
            return [self.slice(x, axis, part * size, (part + 1) * size) for part in range(parts)]
        return self.ops(parts, "Split", x, self.constant([size] * parts), axis=axis)

    def model(self, x: Stream) -> onnx.ModelProto:
        """The model from ``x``, a stream or indices, to ``y``, the last stream, and to the extra outputs."""
        shape: list[int | str] = ["B", "T"] if self.dynamic else [BATCH, x.tokens]
        kind, shape = (TensorProto.INT64, shape) if self.indices else (TensorProto.FLOAT, [*shape, x.width])
        inputs = [helper.make_tensor_value_info("x", kind, shape)]
        self.nodes.append(helper.make_node("Identity", [self.streams[-1].name], ["y"]))
        outputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in ("y", *self.extra)]
        infos = [helper.make_tensor_value_info(name, TensorProto.FLOAT, dims) for name, dims in self.declared.items()]
        graph = helper.make_graph(self.nodes, "random", inputs, outputs, self.tensors, value_info=infos)
        opsets = [helper.make_opsetid("", self.opset), helper.make_opsetid("com.microsoft", 1)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=8 if self.opset < 23 else 11)


Block = Callable[[Draft, Stream], Stream]
"""Appends nodes to a draft, from one stream to another."""
