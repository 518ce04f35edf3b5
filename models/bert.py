"""A BERT sentence encoder as PyTorch exports it from Hugging Face's code, written node by node.

Post-LN layers, masked mean pooling, L2 normalization. LayerNormalization is one node from opset 17 on and the
exporter's nine before; GELU is always decomposed. Opset 11 and later.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np
import onnx
import onnx_ir as ir
from numpy.typing import NDArray

# From these opsets on, the axes are an input and no longer an attribute.
AXES_ARE_AN_INPUT: Final = {"ReduceSum": 13, "Unsqueeze": 13, "ReduceL2": 18, "ReduceMean": 18}
LOWEST: Final = float(np.finfo(np.float32).min)


@dataclass(frozen=True)
class Config:
    """What the weights' shapes do not tell."""

    layers: int
    heads: int
    epsilon: float = 1e-12


@dataclass(frozen=True)
class Scope:
    """Appends nodes to a tape, named after the module `path` that they come from."""

    weights: Mapping[str, NDArray[np.float32]]
    config: Config
    opset: int
    path: str = ""
    tape: ir.tape.Tape = field(default_factory=ir.tape.Tape)
    used: Counter[str] = field(default_factory=Counter)

    def at(self, part: str) -> "Scope":
        """The scope of submodule `part`, on the same tape."""
        return replace(self, path=f"{self.path}/{part}")

    def op(
        self, op_type: str, *inputs: ir.Value | float, **attributes: ir.TensorProtocol | Sequence[int] | float
    ) -> ir.Value:
        """The one output of a new node; plain numbers among the inputs become float32 constants."""
        values = [x if isinstance(x, ir.Value) else self.constant(np.float32(x)) for x in inputs]
        name = f"{self.path}/{op_type}"
        self.used[name] += 1
        name += f"_{self.used[name] - 1}" if self.used[name] > 1 else ""
        output = ir.Value(name=f"{name}_output_0")
        return self.tape.op(op_type, values, attributes, name=name, output=output)

    def constant(self, array: NDArray[np.int64] | np.float32) -> ir.Value:
        """The output of a Constant node."""
        return self.op("Constant", value=ir.tensor(np.asarray(array)))

    def integers(self, *numbers: int) -> ir.Value:
        """A constant int64 vector: axes, a shape, a bound of a slice."""
        return self.constant(np.array(numbers, np.int64))

    def over(self, op_type: str, x: ir.Value, *axes: int, **attributes: int) -> ir.Value:
        """An op that takes `axes`, spelled as the opset wants."""
        if self.opset >= AXES_ARE_AN_INPUT[op_type]:
            return self.op(op_type, x, self.integers(*axes), **attributes)
        return self.op(op_type, x, axes=axes, **attributes)

    def key(self, part: str) -> str:
        """The name of this module's parameter `part`."""
        return f"{self.path}/{part}".removeprefix("/").replace("/", ".")

    def weight(self, part: str = "weight") -> NDArray[np.float32]:
        """The values of this module's parameter `part`."""
        return self.weights[self.key(part)]

    def initializer(self, part: str, array: NDArray[np.float32]) -> ir.Value:
        """`array` as the initializer that stands for this module's parameter `part`."""
        return self.tape.initializer(ir.tensor(np.ascontiguousarray(array), name=self.key(part)))


def linear(s: Scope, x: ir.Value) -> ir.Value:
    """x W + b; torch keeps W as (N, K) and the exporter writes (K, N)."""
    product = s.op("MatMul", x, s.initializer("weight", s.weight().T))
    return s.op("Add", s.initializer("bias", s.weight("bias")), product)


def layer_norm(s: Scope, x: ir.Value) -> ir.Value:
    """LayerNorm over the last axis."""
    scale = s.initializer("weight", s.weight())
    bias = s.initializer("bias", s.weight("bias"))
    if s.opset >= 17:
        return s.op("LayerNormalization", x, scale, bias, axis=-1, epsilon=s.config.epsilon)
    centred = s.op("Sub", x, s.over("ReduceMean", x, -1, keepdims=1))
    variance = s.over("ReduceMean", s.op("Pow", centred, 2.0), -1, keepdims=1)
    deviation = s.op("Sqrt", s.op("Add", variance, s.config.epsilon))
    return s.op("Add", s.op("Mul", s.op("Div", centred, deviation), scale), bias)


def gelu(s: Scope, x: ir.Value) -> ir.Value:
    """x / 2 (1 + erf(x / sqrt 2))."""
    gate = s.op("Add", s.op("Erf", s.op("Div", x, 2.0**0.5)), 1.0)
    return s.op("Mul", s.op("Mul", x, gate), 0.5)


def embeddings(s: Scope, input_ids: ir.Value) -> ir.Value:
    """Words, token type 0 and positions, normalized: (batch, sequence, hidden)."""
    words, types, positions = (s.at(f"{kind}_embeddings") for kind in ("word", "token_type", "position"))
    word = words.op("Gather", words.initializer("weight", words.weight()), input_ids)
    typed = types.op("Add", word, types.initializer("weight", types.weight()[0]))
    zero, one, two = (positions.integers(number) for number in range(3))
    length = positions.op("Slice", positions.op("Shape", input_ids), one, two, zero)
    table = positions.initializer("weight", positions.weight())
    position = positions.op("Slice", table, zero, length, zero)
    return layer_norm(s.at("LayerNorm"), s.op("Add", typed, position))


def attention(s: Scope, x: ir.Value, mask: ir.Value) -> ir.Value:
    """Multi-head self-attention; `mask` (batch, 1, 1, sequence) is added to the scores."""
    hidden = s.weight("query.bias").size
    width = hidden // s.config.heads

    def heads(part: str, perm: Sequence[int]) -> ir.Value:
        split = s.op("Reshape", linear(s.at(part), x), s.integers(0, 0, s.config.heads, width))
        return s.op("Transpose", split, perm=perm)

    query, key, value = heads("query", (0, 2, 1, 3)), heads("key", (0, 2, 3, 1)), heads("value", (0, 2, 1, 3))
    scores = s.op("Div", s.op("MatMul", query, key), width**0.5)
    probabilities = s.op("Softmax", s.op("Add", scores, mask), axis=-1)
    context = s.op("Transpose", s.op("MatMul", probabilities, value), perm=(0, 2, 1, 3))
    return s.op("Reshape", context, s.integers(0, 0, hidden))


def layer(s: Scope, x: ir.Value, mask: ir.Value) -> ir.Value:
    """Attention and MLP, each followed by the residual sum and its LayerNorm."""

    def residual(part: Scope, branch: ir.Value, skip: ir.Value) -> ir.Value:
        summed = part.op("Add", linear(part.at("dense"), branch), skip)
        return layer_norm(part.at("LayerNorm"), summed)

    x = residual(s.at("attention/output"), attention(s.at("attention/self"), x, mask), x)
    middle = s.at("intermediate")
    return residual(s.at("output"), gelu(middle, linear(middle.at("dense"), x)), x)


def pooled(s: Scope, x: ir.Value, kept: ir.Value) -> ir.Value:
    """The L2-normalized mean (batch, hidden) of the tokens that `kept` (batch, sequence) marks with 1."""
    weights = s.over("Unsqueeze", kept, -1)
    total = s.over("ReduceSum", s.op("Mul", x, weights), 1, keepdims=0)
    count = s.op("Clip", s.over("ReduceSum", weights, 1, keepdims=0), 1e-9)
    mean = s.op("Div", total, count)
    return s.op("Div", mean, s.op("Clip", s.over("ReduceL2", mean, -1, keepdims=1), 1e-12))


def build(weights: Mapping[str, NDArray[np.float32]], config: Config, opset: int) -> onnx.ModelProto:
    """The encoder: input_ids and attention_mask (batch, sequence) to sentence_embedding (batch, hidden)."""
    s = Scope(weights, config, opset)
    input_ids, attention_mask = (
        ir.val(name, ir.DataType.INT64, ["batch", "sequence"]) for name in ("input_ids", "attention_mask")
    )
    kept = s.op("Cast", attention_mask, to=ir.DataType.FLOAT)
    mask = s.op("Mul", s.op("Sub", 1.0, s.over("Unsqueeze", kept, 1, 2)), LOWEST)
    x = embeddings(s.at("embeddings"), input_ids)
    for index in range(config.layers):
        x = layer(s.at(f"encoder/layer.{index}"), x, mask)
    embedding = pooled(s.at("pooling"), x, kept)
    embedding.name = "sentence_embedding"
    embedding.type = ir.TensorType(ir.DataType.FLOAT)
    embedding.shape = ir.Shape(["batch", weights["embeddings.LayerNorm.bias"].size])
    graph = ir.Graph(
        [input_ids, attention_mask],
        [embedding],
        nodes=s.tape.nodes,
        initializers=s.tape.initializers,
        opset_imports={"": opset},
        name="sentence_encoder",
    )
    ir_version = onnx.helper.find_min_ir_version_for([onnx.helper.make_opsetid("", opset)])
    return ir.to_proto(ir.Model(graph, ir_version=ir_version))
