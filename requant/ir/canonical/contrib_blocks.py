"""Decomposition of ONNX Runtime's fused embedding and attention of BERT.

    EmbedLayerNormalization(i, s) = LayerNormalization(words[i] + positions + kinds[s])
    Attention(x, W, b) = MultiHeadAttention(Split(x W + b))

MultiHeadAttention is not decomposed: it has no linear layer.
"""

import logging

import onnx_ir as ir

from ..build import NodeBuilder, Outputs
from ..refusal import declined
from ..shapes.contrib import CONTRIB
from ..shapes.symbolic_dims import dimensions

_LOGGER = logging.getLogger(__name__)

SKIP_EPSILON = 1e-12
"""ONNX Runtime's default of the epsilon of a fused norm."""

_COMMON_ATTRIBUTES = ("mask_filter_value", "num_heads", "scale", "unidirectional")
"""Attributes that Attention and MultiHeadAttention share."""


def embedding(
    builder: NodeBuilder,
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
    """Decompose into a LayerNorm of the sum of the tables' rows; counts the tokens that ``mask`` keeps."""
    lengths = builder.node.outputs[1] if len(builder.node.outputs) > 1 else None
    if mask is None and lengths is not None and (lengths.uses() or lengths.is_graph_output()):
        declined(_LOGGER, builder.node, "its count of tokens is used, and it has no mask")
        return None
    if position_ids is None:
        place = builder.op("Slice", positions, [0], builder.op("Shape", ids, start=1, end=2), [0])
    else:
        place = builder.op("Gather", positions, position_ids)
    kind = builder.op("Gather", kinds, segments) if kinds is not None and segments is not None else None
    total = builder.sum(builder.op("Gather", words, ids), place, kind)
    epsilon = builder.node.attributes.get_float("epsilon", SKIP_EPSILON)
    norm = builder.op("LayerNormalization", total, gamma, beta, axis=-1, epsilon=epsilon)
    return norm, _count_tokens(builder, mask), total


def _count_tokens(builder: NodeBuilder, mask: ir.Value | None) -> ir.Value | None:
    if mask is None:
        return None
    is_token = builder.op("Equal", builder.op("Cast", mask, to=ir.DataType.INT64), [1])
    return builder.op("ReduceSum", builder.op("Cast", is_token, to=ir.DataType.INT32), [1], keepdims=0)


def attention(
    builder: NodeBuilder,
    x: ir.Value,
    w: ir.Value,
    b: ir.Value | None = None,
    mask: ir.Value | None = None,
    past: ir.Value | None = None,
    attention_bias: ir.Value | None = None,
    past_length: ir.Value | None = None,
) -> Outputs | None:
    """Separate the projection from the attention; None where MultiHeadAttention does not take the inputs."""
    attributes = builder.node.attributes
    sizes = attributes.get_ints("qkv_hidden_sizes", None) or _thirds(w)
    if past is not None or past_length is not None or attributes.get_int("do_rotary", 0) != 0 or sizes is None:
        declined(_LOGGER, builder.node, "it has a cache or rotary embeddings, or the width of its weight is dynamic")
        return None
    if mask is not None and not _is_common_mask(mask, x):
        declined(_LOGGER, builder.node, "MultiHeadAttention may not take its mask")
        return None
    projected = builder.sum(builder.op("MatMul", x, w), b)
    qkv = builder.multi_output_op("", "Split", 3, projected, list(sizes), axis=-1)
    common = {name: attribute for name, attribute in attributes.items() if name in _COMMON_ATTRIBUTES}
    return builder.multi_output_op(CONTRIB, "MultiHeadAttention", 1, *qkv, None, mask, attention_bias, **common)


def _thirds(w: ir.Value) -> list[int] | None:
    width = w.shape[-1] if w.shape is not None else None
    return [width // 3] * 3 if isinstance(width, int) else None


def _is_common_mask(mask: ir.Value, x: ir.Value) -> bool:
    """Tell whether both ops take ``mask``: one for each key or pair, or the number of keys of each sample."""
    if mask.shape is None or x.shape is None:
        return False
    shape, batch = dimensions(mask.shape), dimensions(x.shape)[0]
    return len(shape) in (2, 3) or (shape == [batch] and batch is not None)
