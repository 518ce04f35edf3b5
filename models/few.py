"""Random networks of the families that people calibrate on few samples, with data that have tails.

Each family maps a seed to a `Family`: a float32 model from ``x`` to ``y`` and its data. A feed is one sample: a row of
a table for ``mlp`` and ``lora``, one step of decoding for ``decoder``, 8 tokens for the stacks, an image or a second of
a spectrogram with silence for the convolutions.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from .synthetic import Outliers, Transformer, post_norm, pre_norm, rms_swiglu

Floats: TypeAlias = NDArray[np.float32]
Feed: TypeAlias = dict[str, Floats]
WIDTH, TOKENS, HEADS, PAST = 64, 8, 4, 12


@dataclass(frozen=True)
class Family:
    """A model and ``draw``, which makes one sample from a generator; the data are others for other models."""

    model: onnx.ModelProto
    draw: Callable[[np.random.Generator], Feed]
    number: int

    def feeds(self, samples: int, seed: int) -> list[Feed]:
        """``samples`` feeds of one sample each; those of other seeds are other samples of the same data."""
        rng = np.random.default_rng([self.number, seed, samples])
        return [self.draw(rng) for _ in range(samples)]


class Net:
    """A chain of nodes over seeded weights."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []

    def op(self, op_type: str, *inputs: str, **attributes: int | float | str | list[int]) -> str:
        """Append a node; returns the name of its output."""
        name = f"{op_type.lower()}_{len(self.nodes)}"
        node = helper.make_node(op_type, inputs, [name], name)
        node.attribute.extend(helper.make_attribute(key, value) for key, value in attributes.items())
        self.nodes.append(node)
        return name

    def weight(self, array: NDArray[np.generic]) -> str:
        """Append an initializer; returns its name."""
        name = f"weight_{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(array, name))
        return name

    def normal(self, *shape: int, fan_in: int = 1) -> str:
        """An initializer of normal draws over √fan_in."""
        return self.weight((self.rng.standard_normal(shape) / fan_in**0.5).astype(np.float32))

    def linear(self, x: str, inputs: int, outputs: int, *, bias: bool = True) -> str:
        """MatMul, and the Add of a bias."""
        y = self.op("MatMul", x, self.normal(inputs, outputs, fan_in=inputs))
        return self.op("Add", y, self.normal(outputs, fan_in=100)) if bias else y

    def conv(self, x: str, inputs: int, outputs: int, size: int = 3, stride: int = 1) -> str:
        """Conv with padding."""
        kernel = self.normal(outputs, inputs, size, size, fan_in=inputs * size * size)
        return self.op("Conv", x, kernel, pads=[size // 2] * 4, strides=[stride] * 2)

    def batch_norm(self, x: str, channels: int) -> str:
        """BatchNormalization with uneven channels."""
        scale = np.exp(0.7 * self.rng.standard_normal(channels)), 0.3 * self.rng.standard_normal(channels)
        seen = 0.1 * self.rng.standard_normal(channels), np.exp(0.3 * self.rng.standard_normal(channels))
        return self.op("BatchNormalization", x, *(self.weight(a.astype(np.float32)) for a in (*scale, *seen)))

    def layer_norm(self, x: str, width: int) -> str:
        """LayerNormalization with uneven channels."""
        gamma = np.exp(0.8 * self.rng.standard_normal(width)).astype(np.float32)
        return self.op("LayerNormalization", x, self.weight(gamma), self.normal(width, fan_in=10), axis=-1)

    def ints(self, *values: int) -> str:
        """An int64 initializer."""
        return self.weight(np.array(values, np.int64))

    def model(self, inputs: Mapping[str, list[str | int]], shape: list[str | int]) -> onnx.ModelProto:
        """The model, whose output ``y`` is what the last node makes."""
        self.nodes[-1].output[0] = "y"
        takes = [helper.make_tensor_value_info(name, TensorProto.FLOAT, dims) for name, dims in inputs.items()]
        gives = [helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)]
        graph = helper.make_graph(self.nodes, "few", takes, gives, self.weights)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)


def mlp(seed: int) -> Family:
    """Three hidden layers over features of uneven size and heavy tails."""
    net, x = Net(seed), "x"
    for inputs, outputs in ((WIDTH, 128), (128, 128), (128, 128)):
        x = net.op("Relu" if seed % 2 else "Gelu", net.linear(x, inputs, outputs))
    net.linear(x, 128, 16)
    return Family(net.model({"x": ["batch", WIDTH]}, ["batch", 16]), _row(net.rng), seed)


def lora(seed: int) -> Family:
    """Layers that are two products in a row, of rank 16."""
    net, x = Net(seed), "x"
    for _ in range(3):
        down = net.linear(x, WIDTH, 16, bias=False)
        x = net.op("Tanh", net.linear(down, 16, WIDTH))
    net.linear(x, WIDTH, 16)
    return Family(net.model({"x": ["batch", WIDTH]}, ["batch", 16]), _row(net.rng), seed)


def decoder(seed: int) -> Family:
    """One step of two layers of attention over a cache, one row a sample."""
    net, x = Net(seed), "x"
    shape, inputs = [1, HEADS, PAST, WIDTH // HEADS], dict[str, list[str | int]](x=[1, 1, WIDTH])
    for layer in range(2):
        past = [f"{part}_{layer}" for part in ("key", "value")]
        inputs |= {name: list(shape) for name in past}
        h = net.layer_norm(x, WIDTH)
        q, k, v = (_heads(net, net.linear(h, WIDTH, WIDTH)) for _ in range(3))
        k, v = (net.op("Concat", old, new, axis=2) for old, new in zip(past, (k, v), strict=True))
        scores = net.op("MatMul", q, net.op("Transpose", k, perm=[0, 1, 3, 2]))
        weights = net.op("Softmax", net.op("Mul", scores, net.weight(np.float32(0.25) * np.ones(1, np.float32))))
        mixed = net.op("Transpose", net.op("MatMul", weights, v), perm=[0, 2, 1, 3])
        x = net.op("Add", x, net.linear(net.op("Reshape", mixed, net.ints(1, 1, WIDTH)), WIDTH, WIDTH))
        up = net.op("Gelu", net.linear(net.layer_norm(x, WIDTH), WIDTH, 4 * WIDTH))
        x = net.op("Add", x, net.linear(up, 4 * WIDTH, WIDTH))
    net.linear(net.layer_norm(x, WIDTH), WIDTH, WIDTH)
    size = np.exp(0.5 * net.rng.standard_normal(WIDTH)).astype(np.float32)

    def draw(rng: np.random.Generator) -> Feed:
        cache = {name: rng.standard_normal(shape, dtype=np.float32) for name in inputs if name != "x"}
        return {"x": rng.standard_normal((1, 1, WIDTH), dtype=np.float32) * size, **cache}

    return Family(net.model(inputs, [1, 1, WIDTH]), draw, seed)


def cnn(seed: int) -> Family:
    """Convolutions with BatchNormalization and SiLU over images."""
    net, x, width = Net(seed), "x", 3
    for outputs, stride in ((16, 2), (32, 1), (32, 2), (48, 1)):
        y = net.batch_norm(net.conv(x, width, outputs, stride=stride), outputs)
        x, width = net.op("Mul", y, net.op("Sigmoid", y)), outputs
    net.linear(net.op("Flatten", net.op("GlobalAveragePool", x)), width, 16)

    def draw(rng: np.random.Generator) -> Feed:
        coarse = rng.standard_normal((1, 3, 4, 4)).repeat(8, 2).repeat(8, 3)
        return {"x": (coarse + 0.3 * rng.standard_normal((1, 3, 32, 32))).astype(np.float32)}

    return Family(net.model({"x": ["batch", 3, 32, 32]}, ["batch", 16]), draw, seed)


def audio(seed: int) -> Family:
    """Conv, ReLU, BatchNormalization and MaxPool over spectrograms, more than half of which are silent."""
    net, x, width = Net(seed), "x", 1
    for outputs in (16, 32, 32):
        x = net.batch_norm(net.op("Relu", net.conv(x, width, outputs)), outputs)
        x, width = net.op("MaxPool", x, kernel_shape=[2, 2], strides=[2, 2]), outputs
    net.linear(net.op("Flatten", x), width * 16, 16)

    profile = np.exp(net.rng.standard_normal((1, 1, 32, 1)))

    def draw(rng: np.random.Generator) -> Feed:
        spectrum = np.abs(rng.standard_normal((1, 1, 32, 32))) * profile * rng.uniform(0.2, 1.0)
        start = int(rng.integers(0, 24))
        spoken = (np.arange(32) >= start) & (np.arange(32) < start + int(rng.integers(4, 16)))
        return {"x": (spectrum * spoken).astype(np.float32)}

    return Family(net.model({"x": ["batch", 1, 32, 32]}, ["batch", 16]), draw, seed)


def _stack(build: Callable[[Transformer], onnx.ModelProto]) -> Callable[[int], Family]:
    def family(seed: int) -> Family:
        spec = Transformer(WIDTH, HEADS, 2, tokens=TOKENS, opset=20, seed=seed, outliers=Outliers(3, 8.0, 2.0))
        size = np.exp(0.3 * np.random.default_rng(seed).standard_normal(WIDTH)).astype(np.float32)
        shape = (1, TOKENS, WIDTH)
        return Family(build(spec), lambda rng: {"x": rng.standard_normal(shape, dtype=np.float32) * size}, seed)

    return family


FAMILIES: dict[str, Callable[[int], Family]] = {
    "mlp": mlp,
    "lora": lora,
    "decoder": decoder,
    "pre-norm": _stack(pre_norm),
    "post-norm": _stack(post_norm),
    "llama": _stack(rms_swiglu),
    "cnn": cnn,
    "audio": audio,
}
"""Every family by name."""


def _row(rng: np.random.Generator) -> Callable[[np.random.Generator], Feed]:
    """Rows of features whose sizes are log-normal, with Student's t of 5 degrees of freedom in each."""
    size = np.exp(rng.standard_normal(WIDTH))
    return lambda rng: {"x": (rng.standard_t(5, (1, WIDTH)) * size).astype(np.float32)}


def _heads(net: Net, x: str) -> str:
    split = net.op("Reshape", x, net.ints(1, -1, HEADS, WIDTH // HEADS))
    return net.op("Transpose", split, perm=[0, 2, 1, 3])
