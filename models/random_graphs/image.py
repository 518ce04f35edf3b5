"""Blocks of convolutions: a stream becomes an image of its tokens, and a stream again."""

from .draft import Draft, Stream
from .sequence import activation

SIDES = {4: 2, 9: 3}


def stage(g: Draft, x: Stream) -> Stream:
    """Convolutions, residuals and what treats channels alone, over [batch, width, side, side]."""
    side = SIDES.get(x.tokens)
    if side is None:
        return x
    image = g.reshape(g.transpose(x.name, 0, 2, 1), -1, x.width, side, side)
    for _ in range(int(g.rng.integers(1, 5))):
        image = g.pick((_plain, _residual, _residual, _depthwise, _pool, _norm, _global, _resized, _padded))(
            g, image, x.width
        )
    return x._replace(name=g.transpose(g.reshape(image, 0, x.width, x.tokens), 0, 2, 1))


def conv(g: Draft, image: str, width: int, outputs: int, groups: int = 1) -> str:
    """A convolution that keeps the size: 1x1, 3x3 with zeros around it, or in groups."""
    kernel = g.pick((1, 1, 3))
    bias = [g.parameter(outputs, size=0.5)] if g.chance(0.6) else []
    inputs = width // groups
    weight = g.parameter(outputs, inputs, kernel, kernel, fan=inputs * kernel)
    return g.op("Conv", image, weight, *bias, group=groups, **(_around(g) if kernel == 3 else {}))


def _around(g: Draft) -> dict[str, list[int] | str]:
    """What keeps the size where the kernel is 3x3."""
    return {"pads": [1, 1, 1, 1]} if g.chance(0.5) else {"auto_pad": "SAME_UPPER"}


def _plain(g: Draft, image: str, width: int) -> str:
    hidden = g.pick(g.widths.inner)
    inside = conv(g, image, width, hidden)
    if g.chance(0.7):
        inside = activation(g, inside, 1)
    return conv(g, inside, hidden, width)


def _residual(g: Draft, image: str, width: int) -> str:
    y = g.either("Add", image, _plain(g, image, width))
    return g.op("Relu", y) if g.chance(0.5) else y


def _depthwise(g: Draft, image: str, width: int) -> str:
    groups = g.pick((width, 2))
    inside = conv(g, conv(g, image, width, width), width, width, groups)
    return conv(g, activation(g, inside, 1), width, width)


def _pool(g: Draft, image: str, width: int) -> str:
    if g.chance(0.4):
        return g.op("MaxPool", image, kernel_shape=[3, 3], **_around(g))
    return g.op("AveragePool", image, count_include_pad=int(g.chance(0.5)), kernel_shape=[3, 3], **_around(g))


def _norm(g: Draft, image: str, width: int) -> str:
    gamma, beta = g.parameter(width, size=0.3, centre=1.0), g.parameter(width, size=0.5)
    mean, variance = g.parameter(width, size=0.3), g.constant(g.rng.uniform(0.5, 2, width))
    return g.op("BatchNormalization", image, gamma, beta, mean, variance)


def _global(g: Draft, image: str, width: int) -> str:
    """Squeeze and excitation, or the mean alone."""
    mean = g.op("GlobalAveragePool", image)
    if g.chance(0.5):
        return g.either("Add", image, mean)
    inside = conv(g, g.op("Relu", conv(g, mean, width, 4)), 4, width)
    return g.either("Mul", image, g.op("Sigmoid", inside))


def _resized(g: Draft, image: str, width: int) -> str:
    scales = g.constant([1.0, 1.0, 2.0, 2.0])
    large = g.op("Resize", image, "", scales, mode=g.pick(("nearest", "linear")))
    return g.op("MaxPool", conv(g, large, width, width), kernel_shape=[2, 2], strides=[2, 2])


def _padded(g: Draft, image: str, width: int) -> str:
    mode = g.pick(("constant", "reflect", "edge"))
    wide = g.op("Pad", image, g.constant([0, 0, 1, 1, 0, 0, 1, 1]), mode=mode)
    weight = g.parameter(width, width, 3, 3, fan=width * 3)
    return g.op("Conv", wide, weight)
