"""What ONNX Runtime fuses of BERT's embedding and of attention, spelled out as far as that helps.

    EmbedLayerNormalization(i, s) = LayerNormalization(words[i] + positions + kinds[s])
    Attention(x, W, b) = MultiHeadAttention(Split(x W + b))

What MultiHeadAttention computes stays ONNX Runtime's.
"""

import onnx_ir as ir

from ..build import Outputs, Parts
from ..shapes.contrib import CONTRIB
from ..shapes.symbolic_dims import dimensions

SKIP_EPSILON = 1e-12
"""What ONNX Runtime adds to a variance when a fused norm does not say."""

_KEPT = ("mask_filter_value", "num_heads", "scale", "unidirectional")
"""Attributes that Attention and MultiHeadAttention share."""


def embedding(
    parts: Parts,
    ids: ir.Value,
    segments: ir.Value | None,
    words: ir.Value,
    positions: ir.Value,
    kinds: ir.Value | None,
    gamma: ir.Value,
    beta: ir.Value | None,
    mask: ir.Value | None = None,
    position_ids: ir.Value | None = None,
) -> Outputs | None:
    """LayerNorm of the sum of the tables' rows, and the number of tokens that ``mask`` keeps."""
    lengths = parts.whole.outputs[1] if len(parts.whole.outputs) > 1 else None
    if mask is None and lengths is not None and (lengths.uses() or lengths.is_graph_output()):
        return None
    if position_ids is None:
        place = parts.op("Slice", positions, [0], parts.op("Shape", ids, start=1, end=2), [0])
    else:
        place = parts.op("Gather", positions, position_ids)
    kind = parts.op("Gather", kinds, segments) if kinds is not None and segments is not None else None
    total = parts.sum(parts.op("Gather", words, ids), place, kind)
    epsilon = parts.whole.attributes.get_float("epsilon", SKIP_EPSILON)
    return parts.op("LayerNormalization", total, gamma, beta, axis=-1, epsilon=epsilon), _kept(parts, mask), total


def _kept(parts: Parts, mask: ir.Value | None) -> ir.Value | None:
    if mask is None:
        return None
    kept = parts.op("Equal", parts.op("Cast", mask, to=ir.DataType.INT64), [1])
    return parts.op("ReduceSum", parts.op("Cast", kept, to=ir.DataType.INT32), [1], keepdims=0)


def attention(
    parts: Parts,
    x: ir.Value,
    w: ir.Value,
    b: ir.Value | None = None,
    mask: ir.Value | None = None,
    past: ir.Value | None = None,
    attention_bias: ir.Value | None = None,
    past_length: ir.Value | None = None,
) -> Outputs | None:
    """Bring the projection into the open; None where the two ops differ in what they take."""
    attributes = parts.whole.attributes
    sizes = attributes.get_ints("qkv_hidden_sizes", None) or _thirds(w)
    if past is not None or past_length is not None or attributes.get_int("do_rotary", 0) != 0 or sizes is None:
        return None
    if mask is not None and not _is_known_mask(mask, x):
        return None
    projected = parts.sum(parts.op("MatMul", x, w), b)
    qkv = parts.ops("", "Split", 3, projected, list(sizes), axis=-1)
    own = {name: attribute for name, attribute in attributes.items() if name in _KEPT}
    return parts.ops(CONTRIB, "MultiHeadAttention", 1, *qkv, None, mask, attention_bias, **own)


def _thirds(w: ir.Value) -> list[int] | None:
    width = w.shape[-1] if w.shape is not None else None
    return [width // 3] * 3 if isinstance(width, int) else None


def _is_known_mask(mask: ir.Value, x: ir.Value) -> bool:
    """Both ops take a mask for each key or pair, or the number of keys of each sample; Attention takes others too."""
    if mask.shape is None or x.shape is None:
        return False
    shape, batch = dimensions(mask.shape), dimensions(x.shape)[0]
    return len(shape) in (2, 3) or (shape == [batch] and batch is not None)
