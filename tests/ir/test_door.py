"""A model that no engine could run is refused when it is loaded, in one line; nodes out of order are sorted."""

from collections.abc import Callable

import onnx
import pytest

from requant.errors import SourceError
from requant.ir.load import load

Build = Callable[[str], onnx.ModelProto]

BAD = {
    "circle": (
        "(float[4] x) => (float[4] y) { a = Add(x, b)  b = Relu(a)  y = Neg(b) }",
        "form a cycle .* → b",
    ),
    "dangling output": ("(float[4] x) => (float[4] z) { y = Neg(x) }", "no node produces the output 'z'"),
    "attribute type": ("(float[4] x) => (float[4] y) { y = Transpose<perm = 1.5>(x) }", "'perm' of type FLOAT"),
    "no permutation": ("(float[4,4] x) => (float[4,4] y) { y = Transpose<perm = [0, 0]>(x) }", "not a permutation"),
    "rank": ("(float[4] x) => (float[4] y) { y = Transpose<perm = [1, 0]>(x) }", "Transpose"),
    "arity": ("(float[4] x) => (float[4] y) { y = MatMul(x) }", "has 1 inputs, but takes 2"),
    "size": ("(float[1000000000, 64] x) => (float[N, 64] y) { y = Neg(x) }", "is declared to have 64000000000"),
    "endless loop": (
        """(float[4] x) => (float[4] y) {
        n = Constant<value = int64 {4611686018427387904}>()  c = Constant<value = bool {1}>()
        y = Loop<body = b (int64 i, bool d, float[4] s) => (bool e, float[4] t) { e = Identity(d)  t = Relu(s) }>
        (n, c, x) }""",
        "node 'y' would run its body 4611686018427387904 times",
    ),
    "products": ("(float[4, 8] x) => (float[4, 2] y) <float[4, 2] w> { y = MatMul(x, w) }", "Incompatible dimensions"),
}


@pytest.mark.parametrize(("text", "message"), BAD.values(), ids=BAD.keys())
def test_a_graph_that_cannot_be_computed_is_refused(text: str, message: str, build: Build) -> None:
    with pytest.raises(SourceError, match=message):
        load(build(text))


def test_an_unknown_opset_is_one_short_line(build: Build) -> None:
    model = build("(float[4] x) => (float[4] y) { y = Neg(x) }")
    model.opset_import[0].version = 99
    with pytest.raises(SourceError, match="has opset 99, but the installed onnx supports 1 to"):
        load(model)


def test_nodes_out_of_order_are_sorted(build: Build) -> None:
    model = build("(float[4] x) => (float[4] y) { y = Neg(b)  b = Relu(a)  a = Abs(x) }")
    assert [node.op_type for node in load(model).graph] == ["Abs", "Relu", "Neg"]


def test_a_function_that_calls_itself_is_refused() -> None:
    model = onnx.parser.parse_model("""<ir_version: 8, opset_import: ["": 17, "own": 1]>
        g (float[4] x) => (float[4] y) { y = own.f(x) }
        <domain: "own", opset_import: ["": 17, "own": 1]> f (a) => (b) { b = own.f(a) }""")
    with pytest.raises(SourceError, match="function 'f' calls itself"):
        load(model)
