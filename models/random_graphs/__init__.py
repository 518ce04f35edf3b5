"""Small random graphs: chains of blocks that a channel transform can pass, must not pass, or is lost in.

`random_graph` composes linear layers, norms, attention, MLPs, convolutions and ops that move elements at random, with
parameters that several layers share, values that several blocks read, outputs in between, and ops that nobody knows.
"""

import numpy as np
from onnx import TensorProto, helper

from .attention import attention
from .draft import BATCH, NARROW, WIDE, Block, Draft, RandomGraph, Stream, Widths
from .image import stage
from .movement import move
from .products import random_products
from .reference import compute_in_double, in_double
from .sequence import VOCABULARY, embedding, gated, linear, lookup, mixer, mlp, norm, treat

__all__ = ["WIDE", "RandomGraph", "Widths", "compute_in_double", "in_double", "random_graph", "random_products"]

BLOCKS: tuple[Block, ...] = (attention, attention, mlp, mlp, gated, move, move, treat, mixer, lookup, stage, stage)


def random_graph(seed: int, widths: Widths = NARROW) -> RandomGraph:
    """A model of 3 to 12 blocks from ``x`` to ``y`` and perhaps more outputs; the same for the same seed."""
    rng = np.random.default_rng(seed)
    g = Draft(rng, opset=int(rng.choice((18, 20, 23))), dynamic=bool(rng.random() < 0.3), widths=widths)
    x = Stream("x", int(rng.choice((4, 4, 9))), int(rng.choice(widths.streams)))
    g.indices = x if g.chance(0.25) else None
    g.streams.append(embedding(g, x) if g.indices else x)
    for _ in range(int(rng.integers(3, 13))):
        g.streams.append(_block(g))
        if g.chance(0.15):
            _watch(g, g.pick(g.streams[1:]))
    data = rng.standard_normal((BATCH, x.tokens, x.width)).astype(np.float32)
    return RandomGraph(g.model(x), rng.integers(0, VOCABULARY, data.shape[:2]) if g.indices else data)


def _block(g: Draft) -> Stream:
    """A block of the last stream or an earlier one; often after a norm, with a residual, or before a norm."""
    x = g.streams[-1] if g.chance(0.85) else g.pick(g.streams)
    start = norm(g, x) if g.chance(0.45) else x
    y = g.pick(BLOCKS)(g, start)
    if y[1:] == x[1:] and g.chance(0.4):
        y = y._replace(name=g.either("Add", y.name, g.pick((x, x, start)).name))
    elif g.chance(0.25):
        y = _met(g, y)
    return norm(g, y) if g.chance(0.15) else y


def _met(g: Draft, x: Stream) -> Stream:
    """``x`` with an earlier stream of its shape."""
    others = [other for other in g.streams if other[1:] == x[1:]]
    if not others:
        return linear(g, x, x.width)
    other, op_type = g.pick(others).name, g.pick(("Add", "Sub", "Mul", "Sum", "Max"))
    return x._replace(name=g.either(op_type, x.name, g.op("Tanh", other) if op_type == "Mul" else other))


def _watch(g: Draft, x: Stream) -> None:
    """Somebody else reads ``x``: an output of the graph, or a consumer that knows its shape or a few of its values."""
    match g.pick(("output", "moved", "unknown", "unknown", "shape", "body")):
        case "output" if x.name not in g.extra:
            g.extra.append(x.name)
        case "moved":
            g.extra.append(g.transpose(x.name, 0, 2, 1))
        case "unknown":
            g.extra.append(g.reduce(g.pick(("ReduceMax", "ReduceL2")), x.name, g.pick((1, 2))))
        case "shape":
            g.extra.append(g.op("Cast", g.op("Shape", x.name), to=TensorProto.FLOAT))
        case "body":
            g.extra.append(_branch(g, x))


def _branch(g: Draft, x: Stream) -> str:
    """An If on what is computed, both of whose bodies read ``x``."""
    bodies = []
    for label, op_type in (("then", "Relu"), ("else", "Neg")):
        name = f"{label}.{len(g.nodes)}"
        output = helper.make_tensor_value_info(name, TensorProto.FLOAT, None)
        bodies.append(helper.make_graph([helper.make_node(op_type, [x.name], [name])], label, [], [output]))
    condition = g.op("Less", g.op("ReduceMax", x.name, keepdims=0), g.constant(1000.0))
    return g.op("If", condition, then_branch=bodies[0], else_branch=bodies[1])
