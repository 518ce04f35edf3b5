"""Random networks of convolutions, most of which an engine could run in codes from end to end."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import onnx
from onnx import TensorProto, helper

from .draft import BATCH, Draft

SIDE, CHANNELS = 12, 3


class _Image(NamedTuple):
    """A value of shape [batch, width, side, side]."""

    name: str
    width: int
    side: int


_Block = Callable[[Draft, _Image], _Image]


def random_network(seed: int, *, gated: bool = False) -> onnx.ModelProto:
    """A model of 4 to 12 blocks from ``x`` [B, 3, 12, 12] to ``y``; the same for the same seed.

    It may be ``gated``: with gates, images of half the size beside others, and layers that half of the channels go by.
    """
    rng = np.random.default_rng(seed)
    g, images = (
        Draft(rng, opset=int(rng.choice((18, 20))), dynamic=bool(rng.random() < 0.3)),
        [_Image("x", CHANNELS, SIDE)],
    )
    blocks: tuple[_Block, ...] = (_block, _block, _residual, _residual, _pool, _branches, _last, _asked)
    blocks += (_gate, _gate, _pyramid, _halves) if gated else ()
    for _ in range(int(rng.integers(4, 13))):
        x = images[-1] if g.chance(0.9) else g.pick(images)
        images.append(g.pick(blocks)(g, x))
    y = images[-1].name
    if g.chance(0.6):
        flat = g.op("Flatten", g.op("GlobalAveragePool", y))
        y = g.op("MatMul", flat, g.parameter(images[-1].width, 16, fan=images[-1].width))
    g.nodes.append(helper.make_node("Identity", [y], ["y"]))
    shape: list[int | str] = ["B" if g.dynamic else BATCH, CHANNELS, SIDE, SIDE]
    ends = [
        helper.make_tensor_value_info(*end) for end in (("x", TensorProto.FLOAT, shape), ("y", TensorProto.FLOAT, None))
    ]
    graph = helper.make_graph(g.nodes, "network", ends[:1], ends[1:], g.tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", g.opset)], ir_version=8)


def _conv(g: Draft, x: _Image, width: int, kernel: int = 0, groups: int = 1) -> _Image:
    kernel, inputs = kernel or g.pick((1, 3)), x.width // groups
    weight = g.parameter(width, inputs, kernel, kernel, fan=inputs * kernel**2)
    bias = [g.parameter(width, size=0.3)] if g.chance(0.7) else []
    around = {"pads": [kernel // 2] * 4} if g.chance(0.5) else {"auto_pad": "SAME_UPPER"}
    return _Image(g.op("Conv", x.name, weight, *bias, group=groups, **around), width, x.side)


def _act(g: Draft, x: _Image) -> _Image:
    kind = g.pick(("Relu", "Relu", "Relu", "Relu", "Clip", "Clip", "none", "LeakyRelu", "HardSwish", "silu"))
    if kind == "Clip":
        return x._replace(name=g.op(kind, x.name, g.constant(g.pick((0.0, 0.0, -1.0))), g.constant(2.0)))
    if kind == "silu":
        return x._replace(name=g.either("Mul", x.name, g.op("Sigmoid", x.name)))
    return x if kind == "none" else x._replace(name=g.op(kind, x.name))


def _gate(g: Draft, x: _Image) -> _Image:
    """A block whose channels are weighed by what two layers make of their averages."""
    y = _block(g, x)
    average = y._replace(name=g.op("GlobalAveragePool", y.name), side=1)
    inner = _conv(g, average, 8, 1)
    logits = _conv(g, inner._replace(name=g.op("Relu", inner.name)), y.width, 1)
    gate = g.op(g.pick(("Sigmoid", "HardSigmoid")), logits.name)
    return y._replace(name=g.either("Mul", y.name, gate))


def _pyramid(g: Draft, x: _Image) -> _Image:
    """What is seen at half the size, beside the image."""
    if x.side % 2 or x.side < 4:
        return _branches(g, x)
    kind = g.pick(("MaxPool", "AveragePool"))
    half = x._replace(name=g.op(kind, x.name, kernel_shape=[2, 2], strides=[2, 2]), side=x.side // 2)
    small = _act(g, _conv(g, half, 8))
    factors = g.constant((1.0, 1.0, 2.0, 2.0))
    large = g.op("Resize", small.name, "", factors, mode="nearest")
    return x._replace(name=g.op("Concat", x.name, large, axis=1), width=x.width + small.width)


def _halves(g: Draft, x: _Image) -> _Image:
    """A layer of which one half of the channels goes through another."""
    y = _act(g, _conv(g, x, 16))
    first, second = g.split(y.name, 2, 1, 8)
    first = _act(g, _conv(g, y._replace(name=first, width=8), 8)).name
    return y._replace(name=g.op("Concat", first, second, axis=1))


def _block(g: Draft, x: _Image) -> _Image:
    """A layer, plain or depthwise, and an activation."""
    depthwise = x.width % 8 == 0 and g.chance(0.2)
    return _act(g, _conv(g, x, x.width, 3, x.width) if depthwise else _conv(g, x, g.pick((8, 16, 24))))


def _residual(g: Draft, x: _Image) -> _Image:
    y = _conv(g, _act(g, _conv(g, x, 16)), x.width)
    other = x.name if g.chance(0.7) else _conv(g, x, x.width, 1).name
    y = y._replace(name=g.either("Add", y.name, other))
    return _act(g, y) if g.chance(0.7) else y


def _pool(g: Draft, x: _Image) -> _Image:
    if x.side < 4:
        return _block(g, x)
    kind = g.pick(("MaxPool", "MaxPool", "AveragePool"))
    if g.chance(0.3):  # zeros are no smaller than what a Relu writes: ONNX Runtime pads a MaxPool with less than them
        wide = g.op(
            "Pad",
            g.op("Relu", x.name),
            g.constant([0, 0, 0, 0, 0, 0, 1, 1]),
            *([g.constant(0.0)] if g.chance(0.5) else []),
        )
        return x._replace(name=g.op(kind, wide, kernel_shape=[2, 2]))
    return x._replace(name=g.op(kind, x.name, kernel_shape=[2, 2], strides=[2, 2]), side=x.side // 2)


def _branches(g: Draft, x: _Image) -> _Image:
    """What several layers make of one image, side by side."""
    sides = [_act(g, _conv(g, x, 8)) for _ in range(int(g.rng.integers(2, 4)))]
    sides += [x] if g.chance(0.3) else []
    return _Image(g.op("Concat", *(side.name for side in sides), axis=1), sum(side.width for side in sides), x.side)


def _last(g: Draft, x: _Image) -> _Image:
    """A layer as a converter from channels last writes it, its BatchNorm spelled out."""
    y = _conv(g, x, 16)
    last = g.transpose(y.name, 0, 2, 3, 1)
    last = g.op("Mul", g.op("Sub", last, g.parameter(16, size=0.3)), g.parameter(16, size=0.3, centre=1.0))
    return y._replace(name=g.transpose(g.op("Relu", last), 0, 3, 1, 2))


def _asked(g: Draft, x: _Image) -> _Image:
    """A layer whose size somebody asks for."""
    y = _conv(g, x, 8)
    early = g.op("Shape", y.name) if g.chance(0.5) else ""
    z = g.op("Relu", y.name)
    size = early or g.op("Shape", y.name)
    return y._replace(name=g.op("Resize", _conv(g, y._replace(name=z), 8).name, "", "", size, mode="nearest"))
