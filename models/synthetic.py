"""Small transformers with seeded weights and injected channel outliers, as ONNX models.

Every builder takes a `Transformer` and gives a model from ``x`` to ``y``, both float32
[batch, tokens, width]. A linear head reads the last norm, so each norm has a linear consumer.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from math import isqrt

import numpy as np
import onnx
from numpy.typing import NDArray

from .attention import attention, causal_mask, windowed_attention
from .graph import DIALECTS, Channels, Dialect, Graph, Outliers, Transformer, linear, plain
from .norms import layer_norm, rms_norm

__all__ = [
    "BUILDERS",
    "DIALECTS",
    "Dialect",
    "Outliers",
    "Transformer",
    "feeds",
    "post_norm",
    "pre_norm",
    "rms_swiglu",
    "vit_b16",
    "windowed",
]

TOKENS = 16
"""Tokens of a sample where the model's number of them is dynamic."""

GELU_SINCE = 20


def pre_norm(spec: Transformer) -> onnx.ModelProto:
    """ViT: ``x + attention(norm(x))``, then ``x + mlp(norm(x))``; a last norm before the head."""
    g, x = Graph(spec), "x"
    for _ in _layers(g):
        x = g.op("Add", x, attention(g, layer_norm(g, x)))
        x = g.op("Add", x, _mlp(g, layer_norm(g, x)))
    return _head(g, layer_norm(g, x))


def post_norm(spec: Transformer) -> onnx.ModelProto:
    """BERT: ``norm(x + attention(x))``, then ``norm(x + mlp(x))``; norms feed linears and the residual."""
    g = Graph(spec)
    x = layer_norm(g, "x")
    for _ in _layers(g):
        x = layer_norm(g, g.op("Add", attention(g, x), x.value))
        x = layer_norm(g, g.op("Add", _mlp(g, x), x.value))
    return _head(g, x)


def rms_swiglu(spec: Transformer) -> onnx.ModelProto:
    """LLaMA: RMSNorm before causal attention and before SwiGLU; no linear has a bias."""
    g, x = Graph(replace(spec, bias=False)), "x"
    mask = causal_mask(g, x)
    for _ in _layers(g):
        x = g.op("Add", x, attention(g, rms_norm(g, x), mask))
        x = g.op("Add", x, _swiglu(g, rms_norm(g, x)))
    return _head(g, rms_norm(g, x))


def windowed(spec: Transformer, window: int = 2) -> onnx.ModelProto:
    """Swin: attention with a fused QKV inside the windows of a token grid; every other layer is shifted.

    The grid is square and static; 16 tokens unless the spec says how many. The first layer is a shifted
    one, so that a single layer has everything.

    Raises:
        ValueError: the tokens do not form a square that ``window`` x ``window`` tiles cover.
    """
    spec = replace(spec, tokens=spec.tokens or TOKENS)
    side = isqrt(spec.tokens or 0)
    if side**2 != spec.tokens or side % window:
        raise ValueError(f"{spec.tokens} tokens are not a square of {window} x {window} windows")
    g, x = Graph(spec), "x"
    for layer in _layers(g):
        shift = 0 if layer % 2 else window // 2
        x = g.op("Add", x, windowed_attention(g, layer_norm(g, x), window, shift))
        x = g.op("Add", x, _mlp(g, layer_norm(g, x)))
    return _head(g, layer_norm(g, x))


BUILDERS: dict[str, Callable[[Transformer], onnx.ModelProto]] = {
    "pre_norm": pre_norm,
    "post_norm": post_norm,
    "rms_swiglu": rms_swiglu,
    "windowed": windowed,
}
"""Every kind of model by name."""


def vit_b16(batch: int | None = None) -> onnx.ModelProto:
    """The encoder of ViT-B/16 at 224 pixels, 340 MB: 12 layers of 768 channels over 197 tokens."""
    outliers = Outliers(channels=0.01)
    return pre_norm(Transformer(768, 12, 12, hidden=3072, tokens=197, batch=batch, outliers=outliers))


def feeds(model: onnx.ModelProto | Transformer, samples: int, seed: int = 0) -> list[dict[str, NDArray[np.float32]]]:
    """Standard normal inputs, ``samples`` of them, for a model with float inputs or for a spec.

    A dynamic first dimension becomes 1, any other 16.
    """
    rng = np.random.default_rng(seed)
    shapes = _shapes(model)
    return [
        {name: rng.standard_normal(shape, dtype=np.float32) for name, shape in shapes.items()} for _ in range(samples)
    ]


def _shapes(model: onnx.ModelProto | Transformer) -> dict[str, tuple[int, ...]]:
    if isinstance(model, Transformer):
        return {"x": (model.batch or 1, model.tokens or TOKENS, model.width)}
    weights = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in weights]
    return {
        value.name: tuple(
            dim.dim_value or (TOKENS if axis else 1) for axis, dim in enumerate(value.type.tensor_type.shape.dim)
        )
        for value in inputs
    }


def _layers(g: Graph) -> Iterator[int]:
    for layer in range(g.spec.layers):
        g.scope = f"layers.{layer}"
        yield layer
    g.scope = "final"


def _head(g: Graph, x: Channels) -> onnx.ModelProto:
    linear(g, x, g.spec.width, "head")
    return g.model()


def _mlp(g: Graph, x: Channels) -> str:
    hidden = _gelu(g, linear(g, x, g.spec.mlp_width, "mlp.up"))
    return linear(g, plain(hidden, g.spec.mlp_width), g.spec.width, "mlp.down")


def _gelu(g: Graph, x: str) -> str:
    if g.spec.has(GELU_SINCE):
        return g.op("Gelu", x)
    normal = g.op("Add", g.op("Erf", g.op("Div", x, g.const(2**0.5))), g.const(1.0))
    return g.op("Mul", g.op("Mul", x, normal), g.const(0.5))


def _swiglu(g: Graph, x: Channels) -> str:
    gate, up = (linear(g, x, g.spec.mlp_width, f"mlp.{label}") for label in ("gate", "up"))
    hidden = g.op("Mul", g.op("Mul", gate, g.op("Sigmoid", gate)), up)
    return linear(g, plain(hidden, g.spec.mlp_width), g.spec.width, "mlp.down")
