"""Golden tests: a small graph and its canonical form, as text."""

from collections.abc import Callable
from textwrap import dedent

import onnx
import onnx_ir as ir
import pytest

from requant.ir.canonical.canonicalize import canonicalize
from requant.ir.load import load

IMAGE = """(float[1,4,6,6] x) => (float[N,H,W,C] y) <float[4,4,1,1] w, float[4,4,1,1] u, float[4] g, float[4] b,
           float[4] e, float half = {0.5}"""
ROWS = """(float[2,3,8] x) => (float[2,3,8] y) <float[8] g, float[8] b, float[8,8] w, float[8,8] low, float[8,8] up,
          float two = {2.0}, float tiny = {0.001}>"""

CASES = {
    "a BatchNorm is folded into the Conv before it": (
        f"{IMAGE}> {{ v = Abs(e)  a = Conv(x, w)  n = BatchNormalization(a, g, b, e, v)  y = Relu(n) }}",
        """
        n = Conv(x, w.folded, a.bias)
        y = Relu(n)
        """,
    ),
    "a BatchNorm is folded into the Conv after it": (
        f"{IMAGE}> {{ v = Abs(e)  a = BatchNormalization(x, g, b, e, v)  y = Conv(a, w) }}",
        """
        y = Conv(x, w.folded, y.bias)
        """,
    ),
    "element-wise ops move before Transposes, which cancel": (
        f"""{IMAGE}> {{ a = Conv(x, w)  t = Transpose<perm = [0, 2, 3, 1]>(a)  r = Relu(t)
        s = Transpose<perm = [0, 3, 1, 2]>(r)  y = Conv(s, u) }}""",
        """
        a = Conv(x, w)
        r.channels_first = Relu(a)
        y = Conv(r.channels_first, u)
        """,
    ),
    "a HardSwish that is spelled out is fused, and waits for no BatchNorm": (
        f"""{IMAGE}, float three = {{3.0}}, float zero = {{0.0}}, float six = {{6.0}}> {{ v = Abs(e)  k = Conv(x, w)
        n = BatchNormalization(k, g, b, e, v)  a = Add(n, three)  c = Clip(a, zero, six)  p = Mul(n, c)
        q = Div(p, six)  y = Conv(q, u) }}""",
        """
        n = Conv(x, w.folded, k.bias)
        q = HardSwish(n)
        y = Conv(q, u)
        """,
    ),
    "a HardSigmoid that is spelled out is fused": (
        f"""{IMAGE}, float one = {{1.0}}, float zero = {{0.0}}> {{ k = Conv(x, w)  m = Mul(k, half)  a = Add(m, half)
        c = Clip(a, zero, one)  y = Conv(c, u) }}""",
        """
        k = Conv(x, w)
        c = HardSigmoid(k)
        y = Conv(c, u)
        """,
    ),
    "a constant factor behind a Reshape and a Transpose is folded into the layer before them": (
        f"""{ROWS.replace("float[2,3,8] y", "float[2,2,3,4] y")[:-1]}, int64[4] heads = {{0, 0, 2, 4}}>
        {{ a = MatMul(x, w)  q = Add(a, b)  h = Reshape(q, heads)  t = Transpose<perm = [0, 2, 1, 3]>(h)
        y = Mul(t, two) }}""",
        """
        a = MatMul(x, w.folded)
        q.scaled = Add(a, b.folded)
        h = Reshape(q.scaled, heads)
        y = Transpose(h)
        """,
    ),
    "a scale and an offset behind an activation are folded into the Conv after them": (
        f"""{IMAGE}, float one = {{1.0}}> {{ r = Relu(x)  m = Mul(r, half)  a = Add(m, one)  y = Conv(a, u, b) }}""",
        """
        r = Relu(x)
        y = Conv(r, u.folded, y.bias)
        """,
    ),
    "a scale before an offset and zeros moves behind the offset, into the Conv": (
        f"""{IMAGE}, float one = {{1.0}}> {{ r = Relu(x)  m = Mul(r, half)  a = Add(m, one)
        y = Conv<pads = [1, 1, 1, 1]>(a, u) }}""",
        """
        r = Relu(x)
        a = Add(r, one.folded)
        y = Conv(a, u.folded)
        """,
    ),
    "a Softmax between Transposes is over the last axis": (
        f"""{IMAGE}> {{ t = Transpose<perm = [0, 2, 1, 3]>(x)  s = Softmax<axis = 1>(t)
        y = Transpose<perm = [0, 2, 1, 3]>(s) }}""",
        """
        s.transpose = Transpose(x)
        s.softmax = Softmax(s.transpose)
        y = Transpose(s.softmax)
        """,
    ),
    "a decomposed LayerNorm is fused": (
        f"""{ROWS} {{ m = ReduceMean<axes = [-1]>(x)  d = Sub(x, m)  q = Pow(d, two)  c = ReduceMean<axes = [-1]>(q)
        v = Add(c, tiny)  r = Sqrt(v)  n = Div(d, r)  p = Mul(n, g)  a = Add(p, b)  y = MatMul(a, w) }}""",
        """
        a = LayerNormalization(x, g, b)
        y = MatMul(a, w)
        """,
    ),
    "the gain of an RMSNorm moves out of its denominator": (
        f"""{ROWS} {{ q = Pow(x, two)  c = ReduceMean<axes = [-1]>(q)  v = Add(c, tiny)  r = Sqrt(v)
        i = Reciprocal(r)  k = Mul(i, g)  a = Mul(x, k)  y = MatMul(a, w) }}""",
        """
        q = Pow(x, two)
        c = ReduceMean(q)
        v = Add(c, tiny)
        r = Sqrt(v)
        i = Reciprocal(r)
        a.normal = Mul(x, i)
        a = Mul(a.normal, g)
        y = MatMul(a, w)
        """,
    ),
    "a fused norm of ONNX Runtime is decomposed": (
        f"{ROWS} {{ n = com.microsoft.SkipLayerNormalization(x, x, g, b)  y = MatMul(n, w) }}",
        """
        n.0.Add.0 = Add(x, x)
        n = LayerNormalization(n.0.Add.0, g, b)
        y = MatMul(n, w)
        """,
    ),
    "a fused product of ONNX Runtime is decomposed": (
        f"{ROWS} {{ n = com.microsoft.FusedMatMul<alpha = 0.5, transB = 1>(x, x)  y = MatMul(n, x) }}",
        """
        n.0.Transpose.0 = Transpose(x)
        n.1.MatMul.0 = MatMul(x, n.0.Transpose.0)
        n = Mul(n.1.MatMul.0, n.constant)
        y = MatMul(n, x)
        """,
    ),
    "a weight with an unmerged adapter becomes a constant": (
        f"{ROWS} {{ l = MatMul(low, up)  s = Mul(l, two)  k = Add(w, s)  y = MatMul(x, k) }}",
        """
        y = MatMul(x, k)
        """,
    ),
    "a transposed weight becomes a constant": (
        f"{ROWS} {{ t = Transpose<perm = [1, 0]>(w)  y = MatMul(x, t) }}",
        """
        y = MatMul(x, t.folded)
        """,
    ),
}


def listing(model: ir.Model) -> str:
    """List the nodes as text, one a line."""
    return "".join(
        f"{', '.join(value.name or '' for value in node.outputs)} = {node.op_type}"
        f"({', '.join(value.name or '' if value else '' for value in node.inputs)})\n"
        for node in model.graph
    )


@pytest.mark.parametrize(("text", "expected"), CASES.values(), ids=CASES)
def test_canonical_form(text: str, expected: str, build: Callable[[str], onnx.ModelProto]) -> None:
    model = load(build(text))
    canonicalize(model)
    assert listing(model) == dedent(expected).lstrip()
