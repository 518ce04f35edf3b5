"""What a synthetic transformer is, and the small graph producer that its parts share."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import numpy as np
import onnx
from numpy.typing import ArrayLike, NDArray
from onnx import TensorProto, helper, numpy_helper

Dialect = Literal["fused", "pytorch", "paddle"]
DIALECTS: tuple[Dialect, ...] = ("fused", "pytorch", "paddle")


@dataclass(frozen=True)
class Outliers:
    """Channels that stand out of every norm's output: gamma times ``gain``, beta ``shift`` further from zero.

    ``channels`` is a count, or as a float a fraction of the width. Successive norms have different outliers:
    in a post-norm residual the same channel would grow by ``gain`` at each of them. The rows of the weights
    that read an outlier shrink by the square root, so that it matters but does not rule.
    """

    channels: int | float = 2
    gain: float = 40.0
    shift: float = 10.0

    def count(self, width: int) -> int:
        """How many of ``width`` channels are outliers."""
        return self.channels if isinstance(self.channels, int) else round(self.channels * width)


@dataclass(frozen=True)
class Transformer:
    """A synthetic transformer: its shape, how its export is spelled, and the seed of its weights.

    ``hidden`` is the width inside the MLP, four times ``width`` unless given. ``tokens`` and ``batch`` are
    static sizes, or None for the dynamic dimensions "tokens" and "batch". ``dialect`` is how an exporter
    writes norms and constants; "fused" takes the pytorch form where ``opset`` has no such operator yet.
    Weights depend on ``seed`` and the shape alone, so every opset and dialect is the same function.

    Raises:
        ValueError: ``width`` is no multiple of ``heads``, ``opset`` not in 11 to 23, or ``dialect`` unknown.
    """

    width: int = 64
    heads: int = 4
    layers: int = 2
    hidden: int | None = None
    tokens: int | None = None
    batch: int | None = None
    opset: int = 17
    dialect: Dialect = "fused"
    seed: int = 0
    outliers: Outliers = field(default_factory=Outliers)
    bias: bool = True

    def __post_init__(self) -> None:
        if self.width % self.heads:
            raise ValueError(f"width {self.width} is not a multiple of heads {self.heads}")
        if not 11 <= self.opset <= 23:
            raise ValueError(f"opset {self.opset} is not between 11 and 23")
        if self.dialect not in DIALECTS:
            raise ValueError(f"dialect {self.dialect!r} is not one of {', '.join(DIALECTS)}")

    @property
    def mlp_width(self) -> int:
        """Channels inside the MLP."""
        return 4 * self.width if self.hidden is None else self.hidden

    @property
    def head_width(self) -> int:
        """Channels of one attention head."""
        return self.width // self.heads

    def has(self, fused_since: int) -> bool:
        """Whether this export uses the fused operator that exists since opset ``fused_since``."""
        return self.dialect == "fused" and self.opset >= fused_since


class Channels(NamedTuple):
    """A value and the typical magnitude of each of its channels, shape [channels]."""

    value: str
    size: NDArray[np.float32]


class Graph:
    """Nodes and initializers under fresh readable names, with the seeded source of weights.

    ``scope`` is the prefix of the names; it may be set at any time. ``channels`` is the order in which the
    norms use up channels as outliers.
    """

    def __init__(self, spec: Transformer) -> None:
        self.spec = spec
        self.rng = np.random.default_rng(spec.seed)
        self.channels = self.rng.permutation(spec.width)
        self.scope = "model"
        self._counts: Counter[str] = Counter()
        self._nodes: list[onnx.NodeProto] = []
        self._initializers: list[onnx.TensorProto] = []

    def count(self, label: str) -> int:
        """How often ``label`` was counted before."""
        self._counts[label] += 1
        return self._counts[label] - 1

    def op(self, op_type: str, *inputs: str, **attributes: float | Sequence[int] | TensorProto) -> str:
        """Append a node with one output; returns the output's name."""
        name = self._fresh(op_type.lower())
        node = helper.make_node(op_type, inputs, [name], name)
        node.attribute.extend(helper.make_attribute(key, value) for key, value in attributes.items())
        self._nodes.append(node)
        return name

    def const(self, value: ArrayLike) -> str:
        """An int64 or float32 constant: a Constant node where the dialect's exporter writes one."""
        array = np.asarray(value)
        array = array.astype(np.int64 if array.dtype.kind == "i" else np.float32)
        if self.spec.dialect == "fused":
            return self.weight("const", array)
        return self.op("Constant", value=numpy_helper.from_array(array))

    def weight(self, label: str, array: NDArray[np.generic]) -> str:
        """Append an initializer; returns its name."""
        name = self._fresh(label)
        self._initializers.append(numpy_helper.from_array(array, name))
        return name

    def normal(self, *shape: int) -> NDArray[np.float32]:
        """Standard normal float32 draws."""
        return self.rng.standard_normal(shape, dtype=np.float32)

    def model(self) -> onnx.ModelProto:
        """The model from ``x`` to ``y``, both [batch, tokens, width]; ``y`` is what the last node makes."""
        spec = self.spec
        self._nodes[-1].output[0] = "y"
        shape = [spec.batch or "batch", spec.tokens or "tokens", spec.width]
        x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in "xy")
        opsets = [helper.make_opsetid("", spec.opset)]
        return helper.make_model(
            helper.make_graph(self._nodes, "synthetic", [x], [y], self._initializers),
            opset_imports=opsets,
            ir_version=max(7, helper.find_min_ir_version_for(opsets)),
        )

    def _fresh(self, label: str) -> str:
        name = f"{self.scope}.{label}"
        return f"{name}_{self.count(name)}"


def linear(g: Graph, x: Channels, outputs: int, label: str) -> str:
    """MatMul with a [channels, outputs] weight, and the Add of a bias unless the spec has none.

    The weight is normal over sqrt(channels), its rows over the square root of the channel's size.
    """
    fan_in = len(x.size)
    rows = 1 / np.sqrt(fan_in * x.size)
    y = g.op("MatMul", x.value, g.weight(f"{label}.weight", g.normal(fan_in, outputs) * rows[:, None]))
    if not g.spec.bias:
        return y
    bias = g.weight(f"{label}.bias", 0.1 * g.normal(outputs))
    return g.op("Add", *((bias, y) if g.spec.dialect == "pytorch" else (y, bias)))


def plain(value: str, channels: int) -> Channels:
    """A value whose channels are all about 1 in size."""
    return Channels(value, np.ones(channels, np.float32))
