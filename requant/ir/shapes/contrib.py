"""Shapes through ops that ONNX does not know: each as a function whose outputs have the same shapes and types."""

from collections.abc import Iterator
from contextlib import contextmanager

import onnx
import onnx_ir as ir

CONTRIB = "com.microsoft"
"""The domain of the ops that ONNX Runtime adds."""

_SAME = "(x) => (y) { y = Identity(x) }"

_PACKED = """(q) => (y) {
    n = NonZero(q)  c = CastLike(n, q)  y = Einsum<equation = "btc,nd->btd">(q, c) }"""
"""Three axes, the last of which is anybody's guess: the query may have key and value beside it."""

_RANK = """(x) => (y) {
    all = Constant<value_ints = [-1]>()  i = NonZero(x)  p = Reshape(i, all)  y = Pad(x, p) }"""
"""As many axes as the input; nothing is said of their lengths."""

_RANKS = """(x, y) => (z) {
    all = Constant<value_ints = [-1]>()  i = NonZero(x)  j = NonZero(y)
    p = Reshape(i, all)  q = Reshape(j, all)  v = Pad(x, p)  w = Pad(y, q)  z = Mul(v, w) }"""
"""As many axes as the input with more of them; nothing is said of their lengths."""

_BLOCKED = ("AveragePool", "Conv", "GlobalAveragePool", "GlobalMaxPool", "MaxPool", "ReorderInput", "ReorderOutput")
"""Ops of the layout that ONNX Runtime likes best."""

_BODIES: dict[tuple[str, str], str] = {
    ("", "SimplifiedLayerNormalization"): _SAME,
    (CONTRIB, "Attention"): "(x, w) => (y) { q, k, v = Split<axis = 1>(w)  y = MatMul(x, v) }",
    (CONTRIB, "BiasGelu"): _SAME,
    (CONTRIB, "EmbedLayerNormalization"): "(ids, segments, words) => (y) { y = Gather(words, ids) }",
    (CONTRIB, "FastGelu"): _SAME,
    (CONTRIB, "FusedMatMul"): _RANKS,
    (CONTRIB, "Gelu"): _SAME,
    (CONTRIB, "GroupQueryAttention"): _PACKED,
    (CONTRIB, "MultiHeadAttention"): '(q, k, v) => (y) { y = Einsum<equation = "btc,bsd->btd">(q, v) }',
    (CONTRIB, "QuickGelu"): _SAME,
    (CONTRIB, "RotaryEmbedding"): _SAME,
    **dict.fromkeys([("com.microsoft.nchwc", op) for op in _BLOCKED], _RANK),
}


@contextmanager
def foreign_functions(model: ir.Model) -> Iterator[None]:
    """Let ``model`` define the foreign ops that it uses, for as long as its shapes are inferred."""
    used = {(node.domain, node.op_type) for node in model.graph.all_nodes()} & _BODIES.keys()
    functions = [_function(*op) for op in sorted(used)]
    model.functions.update({function.identifier(): function for function in functions})
    try:
        yield
    finally:
        for function in functions:
            del model.functions[function.identifier()]


def _function(domain: str, op_type: str) -> ir.Function:
    text = f'<domain: "{domain}", opset_import: ["": 17]> {op_type} {_BODIES[domain, op_type]}'
    return ir.serde.deserialize_function(onnx.parser.parse_function(text))
