"""Attention in the ways that graphs have it: spelled out with options, or one op."""

from dataclasses import dataclass

import numpy as np

from .draft import BATCH, Draft, Stream
from .movement import END
from .sequence import EPSILON, linear


@dataclass(frozen=True)
class Heads:
    """How many heads the queries have, how many the keys and values, and how wide each is."""

    queries: int
    keys: int
    width: int


def attention(g: Draft, x: Stream) -> Stream:
    """Q, K, V; scores; P V; the output projection."""
    heads = Heads(2, g.pick((2, 2, 1)), g.pick(g.widths.heads))
    q, k, v = _projected(g, x, heads)
    whole = {23: ("op3", "op4", "spelled", "contrib")}.get(g.opset, ("spelled", "spelled", "spelled", "contrib"))
    form = g.pick(whole)
    if form == "contrib":
        y = _contrib(g, q, k, v, heads)
    elif form == "op3":
        counts = {"q_num_heads": heads.queries, "kv_num_heads": heads.keys}
        y = g.op("Attention", q.name, k.name, v.name, is_causal=int(g.chance(0.3)), **counts)
    else:
        y = _join(g, (_op if form == "op4" else _spelled)(g, q, k, v, heads), x.tokens, heads)
    return linear(g, Stream(y, x.tokens, heads.queries * heads.width), x.width)


def _projected(g: Draft, x: Stream, heads: Heads) -> tuple[Stream, Stream, Stream]:
    """Q, K and V from one layer, from three, or shared or bare."""
    wide, narrow = heads.queries * heads.width, heads.keys * heads.width
    if wide == narrow and g.chance(0.3):
        parts = g.split(linear(g, x, 3 * wide).name, 3, 2, wide)
        q, k, v = (Stream(part, x.tokens, wide) for part in parts)
        return q, k, v
    others = [other for other in g.streams if other.tokens == x.tokens]
    source = g.pick(others) if others and g.chance(0.2) else x
    q, k, v = linear(g, x, wide), linear(g, source, narrow), linear(g, source, narrow)
    earlier = [side for side in g.sides if side[1:] == q[1:]]
    g.sides += [q, k, v]
    match g.pick(("plain", "plain", "plain", "k is v", "q is k", "again", "q is read", "v is read", "bare")):
        case "again" if earlier:
            q = g.pick(earlier)
        case "k is v":
            v = k
        case "q is k" if wide == narrow:
            q = k
        case "q is read":
            g.extra.append(g.op("Tanh", q.name))
        case "v is read":
            g.extra.append(g.op("Identity", v.name))
        case "bare" if x.width == wide == narrow:
            q = x
        case "bare" if x.width == narrow:
            v = x
    return q, k, v


def _contrib(g: Draft, q: Stream, k: Stream, v: Stream, heads: Heads) -> str:
    """ONNX Runtime's op, which knows one number of heads."""
    if heads.keys < heads.queries:
        k, v = (Stream(g.op("Concat", part.name, part.name, axis=2), q.tokens, q.width) for part in (k, v))
    bias = [g.parameter(3 * q.width, size=0.5)] if g.chance(0.5) else []
    y = g.op("com.microsoft.MultiHeadAttention", q.name, k.name, v.name, *bias, num_heads=heads.queries)
    g.declared[y] = [f"{y}.B", q.tokens, q.width]
    return y


def _op(g: Draft, q: Stream, k: Stream, v: Stream, heads: Heads) -> str:
    """The op on values with an axis of heads, after rotary embeddings or not."""
    queries, keys = _split_heads(g, q, heads.queries), _split_heads(g, k, heads.keys)
    if g.chance(0.5):
        queries, keys = (_rotary_op(g, part, q.tokens, heads.width) for part in (queries, keys))
    return g.op("Attention", queries, keys, _split_heads(g, v, heads.keys), softcap=g.pick((0.0, 0.0, 5.0)))


def _spelled(g: Draft, q: Stream, k: Stream, v: Stream, heads: Heads) -> str:
    queries, keys = _split_heads(g, q, heads.queries), _split_heads(g, k, heads.keys)
    if g.chance(0.15):
        queries, keys = (_head_norm(g, part, heads.width) for part in (queries, keys))
    if g.chance(0.4):
        queries, keys = (_rotary(g, part, q.tokens, heads.width) for part in (queries, keys))
    values = _split_heads(g, v, heads.keys)
    if heads.keys < heads.queries:
        keys, values = (_repeat(g, part, q.tokens, heads) for part in (keys, values))
    if g.chance(0.3):
        queries = g.either("Mul", queries, g.constant(0.7))
    if g.chance(0.3):
        keys = g.op("Div", keys, g.constant(1.4))
    scores = g.op("MatMul", queries, g.transpose(keys, 0, 1, 3, 2))
    return g.op("MatMul", _weights(g, scores, q.tokens), values)


def _weights(g: Draft, scores: str, tokens: int) -> str:
    """P of the scores: mostly a softmax over rows."""
    if g.chance(0.4):
        scores = g.either("Mul", scores, g.constant(0.5))
    if g.chance(0.3):
        scores = g.either("Add", scores, g.constant(np.triu(np.full((1, 1, tokens, tokens), -1e4), k=1)))
    elif g.chance(0.2):
        hidden = g.op("Less", g.constant(g.rng.random((tokens, tokens))), g.constant(0.3))
        scores = g.op("Where", hidden, g.constant(-9.0), scores)
    kind = g.pick(("rows", "rows", "rows", "rows", "rows", "columns", "relu", "guarded", "capped", "dropout"))
    if kind == "relu":
        return g.op("Relu", scores)
    if kind == "capped":
        scores = g.op("Tanh", scores)
    p = g.op("Softmax", scores, axis=2 if kind == "columns" else -1)
    if kind == "guarded":
        return g.op("Where", g.op("IsNaN", p), g.constant(0.0), p)
    return g.op("Dropout", p) if kind == "dropout" else p


def _split_heads(g: Draft, x: Stream, heads: int) -> str:
    return g.transpose(g.reshape(x.name, -1, x.tokens, heads, x.width // heads), 0, 2, 1, 3)


def _join(g: Draft, y: str, tokens: int, heads: Heads) -> str:
    return g.reshape(g.transpose(y, 0, 2, 1, 3), -1, tokens, heads.queries * heads.width)


def _head_norm(g: Draft, x: str, width: int) -> str:
    square = g.reduce("ReduceMean", g.op("Mul", x, x), -1)
    root = g.op("Sqrt", g.op("Add", square, g.constant(EPSILON)))
    return g.either("Mul", g.op("Div", x, root), g.parameter(width, size=0.3, centre=1.0))


def _repeat(g: Draft, x: str, tokens: int, heads: Heads) -> str:
    """[batch, keys, tokens, width] as often as there are queries for each key."""
    groups = heads.queries // heads.keys
    kind = g.pick(("expand", "concat", "tile", "gather", "none"))
    if kind == "concat":
        return g.op("Concat", *[x] * groups, axis=1)
    if kind == "tile":
        return g.op("Tile", x, g.constant([1, groups, 1, 1]))
    if kind == "gather":
        return g.op("Gather", x, g.constant(np.repeat(np.arange(heads.keys), groups)), axis=1)
    if kind == "none" and heads.keys == 1:
        return x  # broadcasting does it
    wide = g.op("Expand", g.op("Unsqueeze", x, g.constant([2])), g.constant([1, 1, groups, 1, 1]))
    return g.reshape(wide, -1, heads.queries, tokens, heads.width)


def _angles(g: Draft, *shape: int) -> tuple[str, str]:
    """Cosines and sines; that a pair shares its angle does not matter here."""
    angle = g.rng.uniform(-3, 3, shape)
    return g.constant(np.cos(angle)), g.constant(np.sin(angle))


def _rotary(g: Draft, x: str, tokens: int, width: int) -> str:
    """x cos + rotated sin: the second half against the first, or every second channel; of all channels or a half."""
    if width == 4 and g.chance(0.2):
        turned, rest = g.split(x, 2, 3, 2)
        return g.op("Concat", _rotary(g, turned, tokens, 2), rest, axis=3)
    cos, sin = _angles(g, tokens, width)
    if g.chance(0.5):
        first, second = g.split(x, 2, 3, width // 2)
        turned = g.op("Concat", g.op("Neg", second), first, axis=3)
    else:
        even, odd = (g.slice(x, 3, start, END, 2) for start in (0, 1))
        sides = [g.op("Unsqueeze", side, g.constant([4])) for side in (g.op("Neg", odd), even)]
        turned = g.reshape(g.op("Concat", *sides, axis=4), 0, 0, tokens, width)
    return g.op("Add", g.either("Mul", x, cos), g.either("Mul", turned, sin))


def _rotary_op(g: Draft, x: str, tokens: int, width: int) -> str:
    tables = _angles(g, BATCH, tokens, width // 2)
    return g.op("RotaryEmbedding", x, *tables, interleaved=int(g.chance(0.5)))
