"""Blocks over [batch, tokens, width]: linear layers, norms, MLPs, and ops that treat elements alone."""

from .draft import Draft, Stream

EPSILON = 0.1
"""Of norms: large, so that no chain of them makes rounding errors of rows that are almost constant matter."""

VOCABULARY = 7
"""Rows of a table of embeddings."""


def linear(g: Draft, x: Stream, width: int) -> Stream:
    """A layer spelled as MatMul, Gemm or Conv, with or without a bias."""
    spelling = g.pick((matmul, matmul, matmul, matmul, gemm, pointwise))
    return Stream(spelling(g, x, width), x.tokens, width)


def matmul(g: Draft, x: Stream, width: int) -> str:
    """A MatMul, and perhaps an Add."""
    y = g.op("MatMul", x.name, g.parameter(x.width, width, fan=x.width))
    bias = g.pick(((width,), (width,), (1, 1, width), (1,), ()))
    return g.either("Add", y, g.parameter(*bias, size=0.5)) if bias else y


def gemm(g: Draft, x: Stream, width: int) -> str:
    """A Gemm over all rows, in any of its forms."""
    rows = g.reshape(x.name, -1, x.width)
    transposed = g.chance(0.5)
    weight = g.parameter(*((width, x.width) if transposed else (x.width, width)), fan=x.width)
    bias = [g.parameter(*g.pick(((width,), (1, width), (1,))), size=0.5)] if g.chance(0.7) else []
    factors = {"alpha": 0.5, "beta": 1.5} if g.chance(0.5) else {}
    y = g.op("Gemm", rows, weight, *bias, transB=int(transposed), **factors)
    return g.reshape(y, -1, x.tokens, width)


def pointwise(g: Draft, x: Stream, width: int) -> str:
    """A Conv of one element between Transposes, with or without a bias."""
    bias = [g.parameter(width, size=0.5)] if g.chance(0.5) else []
    weight = g.parameter(width, x.width, 1, fan=x.width)
    return g.transpose(g.op("Conv", g.transpose(x.name, 0, 2, 1), weight, *bias), 0, 2, 1)


def norm(g: Draft, x: Stream) -> Stream:
    """LayerNorm or RMSNorm, as one op or spelled out, with or without β."""
    gamma = g.parameter(x.width, size=0.3, centre=1.0)
    beta = [g.parameter(x.width, size=0.5)] if g.chance(0.7) else []
    spelling = g.pick(("layer", "layer", "layer", "rms", "rms", "simplified"))
    if spelling == "layer":
        return x._replace(name=g.op("LayerNormalization", x.name, gamma, *beta, epsilon=EPSILON))
    if spelling == "simplified":
        y = g.op("SimplifiedLayerNormalization", x.name, gamma, axis=-1, epsilon=EPSILON)
        g.declared[y] = [f"{y}.B", x.tokens, x.width]
        return x._replace(name=y)
    square = g.reduce("ReduceMean", g.op("Mul", x.name, x.name), -1)
    root = g.op("Sqrt", g.op("Add", square, g.constant(EPSILON)))
    y = g.either("Mul", g.op("Div", x.name, root), gamma)
    return x._replace(name=g.op("Add", y, *beta) if beta else y)


def _up(g: Draft, x: Stream) -> Stream:
    return linear(g, x, g.pick(g.widths.inner))


def mlp(g: Draft, x: Stream) -> Stream:
    """Up, an activation, down."""
    up = _up(g, x)
    hidden = up._replace(name=activation(g, up.name, up.width))
    if g.chance(0.3):
        hidden = hidden._replace(name=activation(g, hidden.name, up.width))
    return linear(g, hidden, x.width)


def gated(g: Draft, x: Stream) -> Stream:
    """act(gate) · up, from two layers or one; then down."""
    width = g.pick(g.widths.inner)
    if g.chance(0.3):
        gate, up = g.split(linear(g, x, 2 * width).name, 2, 2, width)
    else:
        gate, up = linear(g, x, width).name, linear(g, x, width).name
    act = g.pick(("silu", "silu", "Sigmoid", "Tanh", "Relu", "Erf"))
    opened = g.either("Mul", gate, g.op("Sigmoid", gate)) if act == "silu" else g.op(act, gate)
    return linear(g, Stream(g.either("Mul", opened, up), x.tokens, width), x.width)


def mixer(g: Draft, x: Stream) -> Stream:
    """A linear layer across tokens."""
    across = Stream(g.transpose(x.name, 0, 2, 1), x.width, x.tokens)
    if g.chance(0.3):
        across = across._replace(name=g.either("Mul", across.name, g.constant(0.5)))
    return x._replace(name=g.transpose(linear(g, across, x.tokens).name, 0, 2, 1))


def embedding(g: Draft, x: Stream) -> Stream:
    """Rows of a table, with embeddings of the positions or without."""
    y = g.op("Gather", g.parameter(VOCABULARY, x.width), "x")
    return x._replace(name=g.op("Add", y, g.parameter(x.tokens, x.width)) if g.chance(0.5) else y)


def lookup(g: Draft, x: Stream) -> Stream:
    """A projected embedding beside ``x``."""
    if g.indices is None or g.indices.tokens != x.tokens:
        return treat(g, x)
    rows = embedding(g, g.indices)
    return x._replace(name=g.either("Add", x.name, linear(g, rows, x.width).name))


def activation(g: Draft, x: str, width: int) -> str:
    """One op or two that keep the shape; some of them let a transform through."""
    kind = g.pick(
        ("Relu", "Relu", "LeakyRelu", "PRelu", "Abs", "Clip", "Clip6", "Erf", "Tanh", "silu", "square", "Neg")
    )
    if kind == "PRelu":
        return g.op(kind, x, g.parameter(g.pick((1, width)), size=0.3))
    if kind == "Clip":
        return g.op(kind, x, g.constant(0.0))
    if kind == "Clip6":
        return g.op("Clip", x, g.constant(g.pick((0.0, -1.0))), g.constant(3.0))
    if kind == "silu":
        return g.either("Mul", x, g.op("Sigmoid", x))
    if kind == "square":
        r = g.op("Relu", x)
        return g.op("Tanh", g.op("Mul", r, r))
    return g.op(kind, x)


def treat(g: Draft, x: Stream) -> Stream:
    """An activation, or arithmetic with constants and with what other streams say."""
    return x._replace(name=g.pick((_act, _plus, _plus, _minus, _times, _times, _gate, _unknown, _mean, _mix))(g, x))


def _act(g: Draft, x: Stream) -> str:
    return activation(g, x.name, x.width)


def _plus(g: Draft, x: Stream) -> str:
    shape = g.pick(((x.width,), (x.tokens, x.width), (1, x.tokens, 1), (1,)))
    return g.either("Add", x.name, g.parameter(*shape, size=0.5))


def _minus(g: Draft, x: Stream) -> str:
    return g.either("Sub", x.name, g.parameter(x.width, size=0.5))


def _times(g: Draft, x: Stream) -> str:
    factor = g.pick((g.constant(g.pick((0.5, -1.5, 2.0))), g.parameter(x.width, size=0.3, centre=1.0)))
    return g.either("Mul", x.name, factor) if g.chance(0.7) else g.op("Div", x.name, g.constant(g.pick((2.0, -0.7))))


def _gate(g: Draft, x: Stream) -> str:
    other = g.pick(g.streams).name
    axis = g.pick((1, 2))
    summary = g.reduce("ReduceMax", g.reduce("ReduceMean", other, axis), 3 - axis)
    return g.either("Mul", x.name, g.op("Sigmoid", summary))


def _unknown(g: Draft, x: Stream) -> str:
    return g.op("Softmax", x.name, axis=g.pick((1, 2))) if g.chance(0.3) else g.op(g.pick(("Sin", "Cos")), x.name)


def _mean(g: Draft, x: Stream) -> str:
    kind = g.pick(("ReduceMean", "ReduceMax", "ReduceMin", "ReduceSum"))
    return g.either("Add", x.name, g.reduce(kind, x.name, g.pick((1, 1, 2))))


def _mix(g: Draft, x: Stream) -> str:
    return g.op("MatMul", g.parameter(x.tokens, x.tokens, fan=x.tokens), x.name)
