"""Attention as two products around a softmax: which graphs have one."""

from collections.abc import Callable

import onnx
import pytest

from requant.ir.attention import find_attentions
from requant.ir.canonical.canonicalize import canonicalize
from requant.ir.load import load

HEADER = "(float[2,4,40,32] q, float[2,4,32,60] k, float[2,4,60,16] v, float[40,60] m) => (float[2,4,40,16] y)"
WEIGHTS = "<float s = {0.2}, float[4,32,60] w>"


@pytest.mark.parametrize(
    "between",
    [
        "p = Softmax(a)",
        "b = Mul(a, s) p = Softmax(b)",
        "b = Div(a, s) c = Add(b, m) p = Softmax(c)",
        "b = Add(m, a) h = Softmax(b) p = Identity(h)",
    ],
)
def test_scale_and_mask_may_be_between(between: str, build: Callable[[str], onnx.ModelProto]) -> None:
    model = load(build(f"{HEADER} {WEIGHTS} {{ a = MatMul(q, k) {between} y = MatMul(p, v) }}"))
    canonicalize(model)
    (block,) = find_attentions(model.graph)
    assert [value.name for value in block.operands[:2]] == ["q", "k"]
    assert (block.operands[3].name, block.scores.op_type) == ("v", "MatMul")
    assert (block.head_size, block.queries, block.keys) == (32, 40, 60)


@pytest.mark.parametrize(
    "body",
    [
        "a = MatMul(q, w) p = Softmax(a) y = MatMul(p, v)",  # constant keys: a linear layer
        "a = MatMul(q, k) b = MatMul(q, k) c = Add(a, b) p = Softmax(c) y = MatMul(p, v)",  # which one is Q Kᵀ?
        "a = MatMul(q, k) p = Softmax(a) t = Transpose(p) u = Transpose(t) y = MatMul(u, v)",
        "a = MatMul(q, k) p = Softmax(a) n = Neg(p) o = MatMul(p, v) e = MatMul(n, v) y = Add(o, e)",
    ],
)
def test_other_graphs_have_none(body: str, build: Callable[[str], onnx.ModelProto]) -> None:
    assert list(find_attentions(load(build(f"{HEADER} {WEIGHTS} {{ {body} }}")).graph)) == []
