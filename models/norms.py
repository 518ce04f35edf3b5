"""LayerNorm and RMSNorm with outlier channels, spelled the way each exporter spells them.

All take and give [batch, tokens, channels] and normalize the last axis.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto

from .graph import Channels, Dialect, Graph

LAYER_EPSILON, RMS_EPSILON = 1e-5, 1e-6
LAYER_SINCE, RMS_SINCE = 17, 23


def layer_norm(g: Graph, x: str) -> Channels:
    """LayerNorm with gamma and beta; the result knows which of its channels are outliers."""
    gamma, beta = _affine(g)
    spelling = LAYER_NORMS[_form(g, LAYER_SINCE)]
    y = spelling(g, x, g.weight("norm.gamma", gamma), g.weight("norm.beta", beta))
    return Channels(y, np.hypot(gamma, beta))


def rms_norm(g: Graph, x: str) -> Channels:
    """RMSNorm with gamma alone; the result knows which of its channels are outliers."""
    gamma, _ = _affine(g)
    spelling = RMS_NORMS[_form(g, RMS_SINCE)]
    return Channels(spelling(g, x, g.weight("norm.gamma", gamma)), np.abs(gamma))


def _affine(g: Graph) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    width, outliers = g.spec.width, g.spec.outliers
    gamma, beta = 1 + 0.1 * g.normal(width), 0.1 * g.normal(width)
    count = outliers.count(width)
    chosen = g.channels.take(np.arange(count) + count * g.count("norm"), mode="wrap")
    gamma[chosen] *= outliers.gain
    beta[chosen] += outliers.shift * np.sign(beta[chosen])
    return gamma, beta


def _form(g: Graph, since: int) -> Dialect:
    return "pytorch" if g.spec.dialect == "fused" and not g.spec.has(since) else g.spec.dialect


def _mean(g: Graph, x: str, axis: int = -1) -> str:
    if g.spec.opset < 18:
        return g.op("ReduceMean", x, axes=[axis], keepdims=1)
    return g.op("ReduceMean", x, g.const([axis]), keepdims=1)


def _fused_layer_norm(g: Graph, x: str, gamma: str, beta: str) -> str:
    return g.op("LayerNormalization", x, gamma, beta, axis=-1, epsilon=LAYER_EPSILON)


def _pytorch_layer_norm(g: Graph, x: str, gamma: str, beta: str) -> str:
    centred = g.op("Sub", x, _mean(g, x))
    variance = _mean(g, g.op("Pow", centred, g.const(2.0)))
    deviation = g.op("Sqrt", g.op("Add", variance, g.const(LAYER_EPSILON)))
    return g.op("Add", g.op("Mul", g.op("Div", centred, deviation), gamma), beta)


def _paddle_layer_norm(g: Graph, x: str, gamma: str, beta: str) -> str:
    """paddle2onnx's mapper (nn/layer_norm.cc): shape-[1] constants, affine reshaped to the input's own width.

    Every other norm is a common variation: casts that change nothing, the square as a product.
    """
    reshaped = g.count("paddle norm") % 2 == 0
    epsilon, two = g.const([LAYER_EPSILON]), g.const([2.0])
    x = x if reshaped else g.op("Cast", x, to=TensorProto.FLOAT)
    centred = g.op("Sub", x, _mean(g, x, axis=2))
    square = g.op("Pow", centred, two) if reshaped else g.op("Mul", centred, centred)
    deviation = g.op("Sqrt", g.op("Add", _mean(g, square, axis=2), epsilon))
    if reshaped:
        width = g.op("Slice", g.op("Shape", x), g.const([2]), g.const([3]), g.const([0]))
        gamma, beta = g.op("Reshape", gamma, width), g.op("Reshape", beta, width)
    y = g.op("Add", g.op("Mul", g.op("Div", centred, deviation), gamma), beta)
    return y if reshaped else g.op("Identity", y)


def _fused_rms_norm(g: Graph, x: str, gamma: str) -> str:
    return g.op("RMSNormalization", x, gamma, axis=-1, epsilon=RMS_EPSILON)


def _pytorch_rms_norm(g: Graph, x: str, gamma: str) -> str:
    square = _mean(g, g.op("Pow", x, g.const(2.0)))
    root = g.op("Sqrt", g.op("Add", square, g.const(RMS_EPSILON)))
    return g.op("Mul", gamma, g.op("Mul", x, g.op("Reciprocal", root)))


def _paddle_rms_norm(g: Graph, x: str, gamma: str) -> str:
    wide = g.op("Cast", x, to=TensorProto.FLOAT)
    square = _mean(g, g.op("Mul", wide, wide), axis=2)
    root = g.op("Sqrt", g.op("Add", square, g.const([RMS_EPSILON])))
    return g.op("Mul", g.op("Mul", g.op("Div", g.const([1.0]), root), x), gamma)


LAYER_NORMS: dict[Dialect, Callable[[Graph, str, str, str], str]] = {
    "fused": _fused_layer_norm,
    "pytorch": _pytorch_layer_norm,
    "paddle": _paddle_layer_norm,
}
RMS_NORMS: dict[Dialect, Callable[[Graph, str, str], str]] = {
    "fused": _fused_rms_norm,
    "pytorch": _pytorch_rms_norm,
    "paddle": _paddle_rms_norm,
}
