"""Shapes through ops that ONNX does not define: each as a function whose outputs have the same shapes and types."""

from collections.abc import Iterator
from contextlib import contextmanager

import onnx
import onnx_ir as ir

from ..ops import POOLING

CONTRIB = "com.microsoft"
"""The domain of the ops that ONNX Runtime adds."""

_SAME = "(x) => (y) { y = Identity(x) }"

_PACKED = """(q) => (y) {
    n = NonZero(q)  c = CastLike(n, q)  y = Einsum<equation = "btc,nd->btd">(q, c) }"""
"""Three axes, the last of unknown size: the query may have key and value beside it."""

_RANK = """(x) => (y) {
    all = Constant<value_ints = [-1]>()  i = NonZero(x)  p = Reshape(i, all)  y = Pad(x, p) }"""
"""As many axes as the input, of unknown sizes."""

_RANKS = """(x, y) => (z) {
    all = Constant<value_ints = [-1]>()  i = NonZero(x)  j = NonZero(y)
    p = Reshape(i, all)  q = Reshape(j, all)  v = Pad(x, p)  w = Pad(y, q)  z = Mul(v, w) }"""
"""As many axes as the input with more of them, of unknown sizes."""

_BLOCKED = POOLING | {"Conv", "ReorderInput", "ReorderOutput"}
"""Ops of ONNX Runtime's blocked layout NCHWc, which are not ops of the standard domain."""

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
def contrib_functions(model: ir.Model) -> Iterator[None]:
    """Define the ops of ONNX Runtime that ``model`` uses as functions, while its shapes are inferred."""
    ops = {(node.domain, node.op_type) for node in model.graph.all_nodes()} & _BODIES.keys()
    functions = [_function(*op) for op in sorted(ops)]
    model.functions.update({function.identifier(): function for function in functions})
    try:
        yield
    finally:
        for function in functions:
            del model.functions[function.identifier()]


def _function(domain: str, op_type: str) -> ir.Function:
    text = f'<domain: "{domain}", opset_import: ["": 17]> {op_type} {_BODIES[domain, op_type]}'
    return ir.serde.deserialize_function(onnx.parser.parse_function(text))
