"""Dynamic dimensions keep their names through computed sizes; static ones become constants."""

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx_ir.passes import common

from models.synthetic import BUILDERS, DIALECTS, Dialect, Transformer
from requant.ir.canonical.canonicalize import canonicalize
from requant.ir.constants import array
from requant.ir.load import load
from requant.ir.shapes.infer import InferShapes
from requant.ir.shapes.symbolic_dims import dimensions, factors
from requant.runtime.session import runner

Build: TypeAlias = Callable[[str], onnx.ModelProto]

HEAD = '<ir_version: 8, opset_import: ["": 17]> g (float[n, 3, 8] x) => (int64[k] y) '
WITH = """<int64 i = {2}, int64[1] zero = {0}, int64[1] one = {1}, int64[1] two = {2}, int64[1] three = {3},
    int64[1] four = {4}, int64[1] minus = {-1}, int64[2] some = {-1, 1}, int64[2] first = {0, 1}>"""
STATIC = {
    "gathered": ("g = Gather(s, i)  v = Reshape(g, minus)", [8]),
    "gathered from the end": ("v = Gather(s, some)", [8, 3]),
    "sliced": ("v = Slice(s, one, three)", [3, 8]),
    "start and end": ("v = Shape<start = 1>(x)", [3, 8]),
    "joined": ("g = Gather(s, two)  v = Concat<axis = 0>(g, one)", [8, 1]),
    "of a product": ("g = Gather(s, two)  v = Mul(g, four)", [32]),
    "of a quotient": ("g = Gather(s, two)  a = Sub(zero, three)  v = Div(g, a)", [-2]),
    "narrow": ("g = Gather(s, two)  n = Cast<to = 6>(g)  a = Abs(n)  v = Cast<to = 7>(a)", [8]),
    "of what cancels": ("g = Gather(s, zero)  m = Mul(g, four)  v = Div(m, g)", [4]),
}
DYNAMIC = {
    "gathered": "v = Gather(s, zero)",
    "partly dynamic": "v = Gather(s, first)",
    "whole": "v = Identity(s)",
    "backwards": "v = Slice(s, two, zero, zero, minus)",
    "divided by nothing": "g = Gather(s, two)  v = Div(g, zero)",
}


def _inferred(body: str) -> ir.Model:
    model = ir.from_onnx_text(f"{HEAD} {WITH} {{ s = Shape(x)  {body}  y = Neg(v) }}")
    common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(model)
    InferShapes()(model)
    return model


@pytest.mark.parametrize("name", STATIC)
def test_sizes_of_static_dimensions_become_constants(name: str) -> None:
    body, expected = STATIC[name]
    model = _inferred(body)
    contents = array(model.graph.node(-1).inputs[0])
    assert contents is not None
    assert contents.tolist() == expected
    common.RemoveUnusedNodesPass()(model)
    assert not InferShapes()(model).modified


@pytest.mark.parametrize("name", DYNAMIC)
def test_sizes_of_dynamic_dimensions_stay_computed(name: str) -> None:
    last = _inferred(DYNAMIC[name]).graph.node(-1)
    assert array(last.inputs[0]) is None


def test_a_size_that_is_an_output_stays_one() -> None:
    model = ir.from_onnx_text(f"{HEAD} {{ y = Shape<start = 1>(x) }}")
    assert not InferShapes()(model).modified
    assert [node.op_type for node in model.graph] == ["Shape"]


SIGNATURE = "(float[B,T,24] x, float[B,4,T,6] h) => (float[a,b,c] y)"
SIZES = """<int64 i0 = {0}, int64 i1 = {1}, int64[1] zero = {0}, int64[1] one = {1}, int64[1] two = {2},
    int64[1] four = {4}, int64[1] five = {5}, int64[1] width = {24}, int64[1] rest = {-1},
    int64[5] minus = {-1, -1, -1, -1, -1}, int64[1,9] places, float[1,4,1,6] row, float[1,3,2] tile,
    float[4] scales = {1, 1, 2, 2}>"""
BATCH_TOKENS = """s = Shape(x)
    b0 = Gather(s, i0)  b = Unsqueeze(b0, zero)  t0 = Gather(s, i1)  t = Unsqueeze(t0, zero)"""
REPEATED = """e = Equal(c, m)  w = Where(e, o, c)  j = Unsqueeze(h, two)  k = Expand(j, w)"""
NAMED = {
    "heads": ("c = Concat<axis = 0>(b, t, four, rest)  v = Reshape(x, c)", ["B", "T", 4, 6]),
    "number of heads": (
        "d = Shape<start = 3>(h)  c = Concat<axis = 0>(b, t, rest, d)  v = Reshape(x, c)",
        ["B", "T", 4, 6],
    ),
    "tokens": (
        "c = Concat<axis = 0>(b, rest, width)  k = Transpose<perm = [0, 2, 1, 3]>(h)  v = Reshape(k, c)",
        ["B", "T", 24],
    ),
    "heads and batch together": ("c = Concat<axis = 0>(rest, t, two)  v = Reshape(x, c)", ["12*B", "T", 2]),
    "and apart again": (
        """c = Concat<axis = 0>(rest, t, two)  j = Reshape(x, c)
           k = Concat<axis = 0>(b, rest, t, two)  v = Reshape(j, k)""",
        ["B", 12, "T", 2],
    ),
    "batch times heads": ("m = Mul(b, four)  c = Concat<axis = 0>(m, t, rest)  v = Reshape(h, c)", ["4*B", "T", 6]),
    "copied": ("c = Concat<axis = 0>(zero, zero, four, rest)  v = Reshape(x, c)", ["B", "T", 4, 6]),
    "repeated keys": (
        f"""c = Concat<axis = 0>(b, four, two, t, rest)  q = Shape(c)
            o = ConstantOfShape<value = int64[1] {{1}}>(q)  m = Mul(o, rest)  {REPEATED}
            f = Mul(four, two)  n = Concat<axis = 0>(b, f, t, rest)  v = Reshape(k, n)""",
        ["B", 8, "T", 6],
    ),
    "repeated keys, before the Reshape": (
        f"""c = Concat<axis = 0>(b, four, two, t, rest)  o = ConstantOfShape<value = int64[1] {{1}}>(five)
            m = Identity(minus)  {REPEATED}  v = Neg(k)""",
        ["B", 4, 2, "T", 6],
    ),
    "sizes that are not negative": (
        "c = Concat<axis = 0>(b, four, t, one)  k = Abs(c)  v = Expand(row, k)",
        ["B", 4, "T", 6],
    ),
    "residual": (
        """c = Concat<axis = 0>(b, rest, width)  k = Transpose<perm = [0, 2, 1, 3]>(h)  r = Reshape(k, c)
           q = Add(x, r)  v = Softmax(q)""",
        ["B", "T", 24],
    ),
    "scores": (
        """c = Concat<axis = 0>(b, t, four, rest)  r = Reshape(x, c)  k = Transpose<perm = [0, 2, 1, 3]>(r)
           j = Transpose<perm = [0, 2, 3, 1]>(r)  q = MatMul(k, j)  v = Softmax(q)""",
        ["B", 4, "T", "T"],
    ),
    "positions cut": ("e = Slice(places, zero, t, one)  v = Unsqueeze(e, two)", [1, "T", 1]),
    "positions counted": ("k = Range(i0, t0, i1)  v = Cast<to = 1>(k)", ["T"]),
    "positions found": (
        "k = ConstantOfShape<value = int64[1] {1}>(t)  n = NonZero(k)  v = Transpose(n)",
        ["T", 1],
    ),
    "flat": ("v = Flatten<axis = 2>(h)", ["4*B", "6*T"]),
    "tiled": ("c = Concat<axis = 0>(b, one, four)  v = Tile(tile, c)", ["B", 3, 8]),
    "filled": ("c = Concat<axis = 0>(b, t)  v = ConstantOfShape(c)", ["B", "T"]),
    "resized": ("v = Resize(h, , scales)", ["B", 4, None, 12]),
}


@pytest.mark.parametrize("name", NAMED)
def test_a_dynamic_dimension_keeps_its_name(name: str, build: Build) -> None:
    body, expected = NAMED[name]
    last = "Cast<to = 1>" if name in ("positions cut", "positions found") else "Neg"
    model = load(build(f"{SIGNATURE} {SIZES} {{ {BATCH_TOKENS}  {body}  y = {last}(v) }}"))
    canonicalize(model)
    v = model.graph.node(-1).inputs[0]
    assert v is not None
    assert v.shape is not None
    assert [None if str(dim).startswith("unk") else dim for dim in dimensions(v.shape)] == expected


@pytest.mark.parametrize("name", BUILDERS)
@pytest.mark.parametrize("opset", [11, 17, 23])
@pytest.mark.parametrize("dialect", DIALECTS)
def test_all_shapes_hold_at_run_time(name: str, opset: int, dialect: Dialect) -> None:
    spec = Transformer(width=16, heads=2, layers=2, opset=opset, dialect=dialect)
    model = load(BUILDERS[name](spec))
    canonicalize(model)
    values = [value for node in model.graph for value in node.outputs if value.name]
    x = np.random.default_rng(0).standard_normal(_sizes(model.graph.inputs[0], {})).astype(np.float32)
    arrays = runner(model, [str(value.name) for value in values], threads=1)({str(model.graph.inputs[0].name): x})
    sizes = dict(zip(_names(model.graph.inputs[0]), x.shape, strict=True))
    for value, actual in zip(values, arrays[1:], strict=True):
        assert _sizes(value, sizes) == actual.shape, value


def _names(value: ir.Value) -> list[object]:
    assert value.shape is not None
    return list(dimensions(value.shape))


def _sizes(value: ir.Value, sizes: dict[object, int]) -> tuple[int, ...]:
    """Return the shape of ``value`` when its names have ``sizes``, or else 2, 16, 16, ..."""
    assert value.shape is not None
    dims: list[int] = []
    for axis, dim in enumerate(dimensions(value.shape)):
        assert dim is not None
        number, names = factors(dim)
        dims.append(number * int(np.prod([sizes[name] if sizes else 16 if axis else 2 for name in names.elements()])))
    return tuple(dims)


def test_names_that_the_caller_gave_stand_for_themselves() -> None:
    text = """<ir_version: 8, opset_import: ["": 17]> g (float[B,T] x, float[C,S] z) => (float[N,M] y)
        <int64[2] c = {0, -1}> { v = Reshape(x, c)  w = Add(v, z)  y = Neg(w) }"""
    model = load(onnx.parser.parse_model(text))
    canonicalize(model)
    assert [str(value.shape) for value in model.graph.inputs] == ["[B,T]", "[C,S]"]
    assert str(model.graph.node(0).outputs[0].shape) == "[B,T]"
    assert str(model.graph.node(1).outputs[0].shape) not in ("[B,T]", "[C,S]")


def test_a_dimension_without_a_name_is_given_one() -> None:
    text = """<ir_version: 8, opset_import: ["": 17]> g (float[?,?,8] x) => (float[?,?,8] y)
        <int64[4] c = {0, 0, 2, 4}> { v = Neg(x)  w = Add(v, x)  r = Reshape(w, c)  t = Transpose(r)  y = Neg(w) }"""
    model = load(onnx.parser.parse_model(text))
    canonicalize(model)
    assert [str(value.shape) for node in model.graph for value in node.outputs] == ["[x.0,x.1,8]"] * 3


@pytest.mark.parametrize(
    "node",
    [
        "Reshape(x, three)",
        "Expand(x, names)",
        "Tile(x, three)",
        "Slice(x, three, three, three)",
        "Range(three, three, three)",
        "MatMul(x, three)",
        "MatMul(x, number)",
    ],
)
def test_a_node_that_does_not_fit_says_nothing(node: str) -> None:
    text = f"""<ir_version: 8, opset_import: ["": 17]> g (float[A,B] x, int64[N] names) => (float[K] y)
        <int64[3] three = {{0, 0, 0}}, int64 number = {{0}}> {{ y = {node} }}"""
    model = ir.from_onnx_text(text)
    InferShapes()(model)
    assert str(model.graph.inputs[0].shape) == "[A,B]"


def test_an_output_with_consumers_has_its_shape() -> None:
    text = """<ir_version: 8, opset_import: ["": 17]> g (float[B,T] x) => (float[N,M] h, float[N,M] y)
        { h = Neg(x)  y = Abs(h) }"""
    model = load(onnx.parser.parse_model(text))
    canonicalize(model)
    assert str(model.graph.outputs[0].shape) == "[B,T]"
