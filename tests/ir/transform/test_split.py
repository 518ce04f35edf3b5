"""A graph with copied channels computes what it computed before; where it would not, the region is refused."""

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from onnx.reference import ReferenceEvaluator
from onnx_ir.passes.common import ShapeInferencePass

from requant.ir.channels.regions import Region, find_region
from requant.ir.load import load
from requant.ir.refusal import Refusal
from requant.ir.transform.split import split

Arrays: TypeAlias = list[NDArray[np.generic]]
Build: TypeAlias = Callable[[str], onnx.ModelProto]
Compute: TypeAlias = Callable[[ir.Model], Arrays]
Deviation: TypeAlias = Callable[[Arrays, Arrays], float]

SINGLE, DOUBLE = 1e-4, 1e-10
"""How far outputs may move, of the largest magnitude."""

C = 6
"""Channels of every region below, which is that of the value ``a``."""

seeds = st.integers(0, 2**32 - 1)

CONSTANTS = """float[4,6] w, float[4,6] v, float[4,1] narrow, float[6] b, float[1,6] b2, float[1,1,6] c, float[1] one,
    float[6,3] u, float[6,3] z, float[6,6] q, float[6,1] r, float[1,3] wide, float[3] d, float half = {0.5},
    float two = {2}, float root = {1.4142135}, float zero = {0}, float six = {6}, bool never = {0}, bool always = {1},
    int64[3] flat = {0, 0, 6}, int64[4] heads = {0, 0, 2, 3}"""
HEAD = f"(float[B,T,4] x) => (float[B,K,M] y) <{CONSTANTS}>"
CONTRIB = f"(float[B,T,4] x) => (float[B,K,M] y) <{CONSTANTS}, float[B,T,6] a>"
ROWS = (
    "(float[B,4] x) => (float[B,M] y) <float[6,4] w, float[6] b, float[1,6] b2, float[1] one, float[3,6] u, float[3] d>"
)
IMAGE = """(float[B,4,7,7] x) => (float[B,N,K,M] y) <float[6,4,1,1] w, float[6,4,3,3] w3, float[6] b, float[6,1,1] c,
    float[3,6,1,1] u, float[3,6,3,3] u3, float[3] d, float[6,2,1,1] wg, float[4,3,1,1] ug, float[7,3] m>"""
SOUND = "(float[B,4,9] x) => (float[B,N,M] y) <float[6,4,3] w, float[6] b, float[6,1] s, float[3,6,3] u>"
MADE = "p = MatMul(x, w)  h = Add(p, b)"
READ = "e = MatMul(a, u)  y = Add(e, d)"

GRAPHS: dict[str, str] = {
    "nothing between": f"{HEAD} {{ p = MatMul(x, w)  a = Add(c, p)  {READ} }}",
    "no bias": f"{HEAD} {{ p = MatMul(x, w)  a = Relu(p)  y = MatMul(a, u) }}",
    "one bias for all": f"{HEAD} {{ p = MatMul(x, w)  h = Add(p, one)  a = Relu(h)  {READ} }}",
    "relu": f"{HEAD} {{ {MADE}  a = Relu(h)  {READ} }}",
    "gelu": f"{HEAD} {{ {MADE}  a = Gelu(h)  {READ} }}",
    "gelu, spelled out": (
        f"{HEAD} {{ {MADE}  i = Div(h, root)  j = Erf(i)  k = Add(j, one)  l = Mul(h, k)  a = Mul(l, half)  {READ} }}"
    ),
    "contrib gelu": f"{CONTRIB} {{ {MADE}  a = com.microsoft.Gelu(h)  {READ} }}",
    "contrib gelu with a bias": f"{CONTRIB} {{ p = MatMul(x, w)  a = com.microsoft.BiasGelu(p, b)  {READ} }}",
    "quick gelu": f"{CONTRIB} {{ {MADE}  a = com.microsoft.QuickGelu<alpha = 1.702>(h)  {READ} }}",
    "silu": f"{HEAD} {{ {MADE}  s = Sigmoid(h)  a = Mul(s, h)  {READ} }}",
    "swiglu": f"{HEAD} {{ {MADE}  s = Sigmoid(h)  g = Mul(h, s)  o = MatMul(x, v)  a = Mul(g, o)  y = MatMul(a, u) }}",
    "dropout": f"{HEAD} {{ {MADE}  k = Relu(h)  a = Dropout(k, half, never)  {READ} }}",
    "dropout with its mask": f"{HEAD} {{ {MADE}  k = Relu(h)  a, mask = Dropout(k)  {READ} }}",
    "clip": f"{HEAD} {{ {MADE}  a = Clip(h, zero, six)  {READ} }}",
    "mish": f"{HEAD} {{ {MADE}  i = Softplus(h)  j = Sqrt(i)  k = Tanh(j)  l = Mish(h)  a = Mul(k, l)  {READ} }}",
    "cast": f"{HEAD} {{ {MADE}  i = Cast<to = 11>(h)  j = Relu(i)  a = Cast<to = 1>(j)  {READ} }}",
    "slopes": f"{HEAD} {{ {MADE}  i = PRelu(h, b)  j = LeakyRelu<alpha = 0.2>(i)  a = HardSigmoid(j)  {READ} }}",
    "constants on the way": (
        f"{HEAD} {{ p = MatMul(x, w)  h = Sub(c, p)  i = Mul(h, b2)  j = Abs(i)  k = Add(j, two)  l = Div(b, k)"
        f"  n = Pow(l, two)  a = Neg(n)  {READ} }}"
    ),
    "a gate for each row": f"{HEAD} {{ {MADE}  i = ReduceMax<keepdims = 1>(x)  a = Mul(h, i)  {READ} }}",
    "a gate that it makes": f"{HEAD} {{ {MADE}  i = MatMul(h, r)  j = Sigmoid(i)  a = Mul(h, j)  {READ} }}",
    "several consumers": (
        f"{HEAD} {{ {MADE}  a = Relu(h)  e = MatMul(a, u)  f = MatMul(a, z)  g = MatMul(h, z)  y = Sum(e, f, g) }}"
    ),
    "a consumer that produces": f"{HEAD} {{ {MADE}  i = MatMul(h, q)  a = Add(h, i)  {READ} }}",
    "one weight produces twice": (
        f"{HEAD} {{ {MADE}  i = Abs(x)  j = MatMul(i, w)  k = Tanh(j)  a = Mul(h, k)  {READ} }}"
    ),
    "one weight reads twice": f"{HEAD} {{ {MADE}  a = Relu(h)  e = MatMul(a, u)  f = MatMul(h, u)  y = Sub(e, f) }}",
    "a shared bias": (
        f"{HEAD} {{ {MADE}  a = Relu(h)  e = MatMul(a, u)  f = Sub(b, b)  g = ReduceMax(f)  y = Add(e, g) }}"
    ),
    "gemm": f"{ROWS} {{ h = Gemm<transB = 1, alpha = 0.5>(x, w, b)  a = Tanh(h)  y = Gemm<transB = 1>(a, u, d) }}",
    "gemm, wide bias": f"{ROWS} {{ a = Gemm<transB = 1, beta = 2.0>(x, w, b2)  y = Gemm<transB = 1>(a, u) }}",
    "gemm, one bias for all": f"{ROWS} {{ h = Gemm<transB = 1>(x, w, one)  a = Exp(h)  y = Gemm<transB = 1>(a, u) }}",
    "gemm, no bias": f"{ROWS} {{ h = Gemm<transB = 1>(x, w)  a = Relu(h)  y = Gemm<transB = 1>(a, u) }}",
    "conv 1x1": f"{IMAGE} {{ h = Conv(x, w, b)  a = HardSwish(h)  y = Conv(a, u, d) }}",
    "conv 3x3": (
        f"{IMAGE} {{ h = Conv<pads = [1, 1, 1, 1]>(x, w3, b)  i = Mul(h, c)  a = Relu(i)"
        "  y = Conv<pads = [1, 1, 1, 1], strides = [2, 2]>(a, u3) }"
    ),
    "conv, bias after it": f"{IMAGE} {{ p = Conv(x, w)  h = Add(p, c)  s = Erf(h)  a = Mul(h, s)  y = Conv(a, u3) }}",
    "conv of sound": f"{SOUND} {{ h = Conv(x, w, b)  i = PRelu(h, s)  a = Softplus(i)  y = Conv(a, u) }}",
}
PRECISE = [name for name, text in GRAPHS.items() if "com.microsoft" not in text and "Cast" not in text]
"""Those that can be computed in double from end to end."""


def _model(proto: onnx.ModelProto) -> ir.Model:
    proto.opset_import[0].version, proto.ir_version = 20, 9  # where Gelu is
    model = load(proto)
    ShapeInferencePass()(model)
    return model


def _double(text: str) -> str:
    return text.replace("float[", "double[").replace("float ", "double ")


def _region(model: ir.Model) -> Region:
    values = ir.convenience.create_value_mapping(model.graph)
    region = find_region(values.get("a") or values["a.rebased"])
    assert isinstance(region, Region), region
    return region


def _copies(channels: int, seed: int) -> NDArray[np.intp]:
    rng = np.random.default_rng(seed)
    copies = np.ones(channels, np.intp)
    np.add.at(copies, rng.integers(0, channels, rng.integers(1, 2 * channels)), 1)
    return copies


def _everything(model: ir.Model) -> dict[str, NDArray[np.generic]]:
    """Compute all values of a model, by name."""
    (x,) = model.graph.inputs
    assert x.shape is not None
    assert x.dtype is not None
    shape = [dim if isinstance(dim, int) else 3 for dim in x.shape]
    data = 2 * np.random.default_rng(0).standard_normal(shape).astype(x.dtype.numpy())
    results = ReferenceEvaluator(ir.to_proto(model)).run(None, {"x": data}, intermediate=True)
    assert isinstance(results, dict)
    return results


@pytest.mark.parametrize("name", GRAPHS)
@given(seed=seeds)
def test_any_copies_keep_the_outputs(
    name: str, build: Build, compute: Compute, deviation: Deviation, seed: int
) -> None:
    model = _model(build(GRAPHS[name]))
    before, ops = compute(model), [node.op_type for node in model.graph]
    split(_region(model), _copies(C, seed))
    assert deviation(before, compute(model)) < SINGLE
    assert [node.op_type for node in model.graph] == ops


@pytest.mark.parametrize("name", PRECISE)
@given(seed=seeds)
def test_in_double_precision_the_rewrite_is_exact_and_the_values_are_copies(
    name: str, build: Build, deviation: Deviation, seed: int
) -> None:
    model = _model(build(_double(GRAPHS[name])))
    before, region, copies = _everything(model), _region(model), _copies(C, seed)
    names = [value.name or "" for value in region.values]
    assert before["y"].dtype == np.float64
    order = split(region, copies)
    assert order[:C].tolist() == list(range(C))
    np.testing.assert_array_equal(np.bincount(order), copies)
    after = _everything(model)
    assert deviation([before["y"]], [after["y"]]) < DOUBLE
    for name, value in zip(names, region.values, strict=True):
        assert value.name is not None
        repeated = before[name].take(order, region.axis)
        assert deviation([repeated.astype(np.float64)], [after[value.name].astype(np.float64)]) < DOUBLE


@pytest.mark.parametrize("name", PRECISE)
def test_splits_compose(name: str, build: Build, deviation: Deviation) -> None:
    model = _model(build(_double(GRAPHS[name])))
    before, channels = _everything(model)["y"], C
    for seed in range(3):
        region = _region(model)
        assert region.channels == channels
        channels = len(split(region, _copies(channels, seed)))
    assert deviation([before], [_everything(model)["y"]]) < DOUBLE


@pytest.mark.parametrize("name", GRAPHS)
def test_shapes_and_types_are_those_that_inference_finds(name: str, build: Build) -> None:
    model = _model(build(GRAPHS[name]))
    region, copies = _region(model), _copies(C, 0)
    width = len(split(region, copies))
    assert {value.shape[region.axis] for value in region.values if value.shape} == {width}
    proto = ir.to_proto(model)
    onnx.checker.check_model(proto, full_check=True)
    del proto.graph.value_info[:]
    inferred = onnx.shape_inference.infer_shapes(proto, check_type=True, strict_mode=True).graph.value_info
    assert inferred
    values = ir.convenience.create_value_mapping(model.graph)
    for info in inferred:
        shape = values[info.name].shape
        assert shape is not None
        tensor = info.type.tensor_type
        assert [dim if isinstance(dim, int) else 0 for dim in shape] == [dim.dim_value for dim in tensor.shape.dim]
        assert values[info.name].dtype == tensor.elem_type
    for value in model.graph.initializers.values():
        assert value.const_value is not None
        assert value.shape is not None
        assert value.shape.numpy() == value.const_value.shape.numpy() == value.const_value.numpy().shape


@pytest.mark.parametrize("name", GRAPHS)
def test_every_value_of_a_region_that_linears_read_has_that_region(name: str, build: Build) -> None:
    region = _region(_model(build(GRAPHS[name])))
    for data in {consumer.data for consumer in region.consumers}:
        other = find_region(data)
        assert isinstance(other, Region)
        assert set(other.values) == set(region.values)
        assert set(other.constants) == set(region.constants)
        assert {linear.node for linear in other.producers} == {linear.node for linear in region.producers}
        assert {linear.node for linear in other.consumers} == {linear.node for linear in region.consumers}


def test_a_region_is_all_that_takes_part(build: Build) -> None:
    model = _model(build(GRAPHS["swiglu"]))
    region = _region(model)
    assert [linear.weight.name for linear in region.producers] == ["v", "w"]
    assert [linear.weight.name for linear in region.consumers] == ["u"]
    assert {value.name for value in region.values} == {"a", "g", "h", "o", "p", "s"}
    (bias,) = region.constants
    node, position = bias.slot
    assert node.inputs[position] is model.graph.initializers["b"]
    assert bias.axis == -1
    assert (region.name, region.channels, region.axis) == ("a", C, -1)


def test_a_single_channel_can_have_copies(build: Build, deviation: Deviation) -> None:
    text = f"{_double(HEAD)} {{ h = MatMul(x, narrow)  s = Sigmoid(h)  a = Mul(s, h)  y = MatMul(a, wide) }}"
    model = _model(build(text))
    before = _everything(model)
    assert split(_region(model), np.array([3])).tolist() == [0, 0, 0]
    after = _everything(model)
    assert after["a"].shape == (*before["a"].shape[:-1], 3)
    assert deviation([before["y"]], [after["y"]]) < DOUBLE


def test_constants_may_come_without_a_declared_shape(build: Build) -> None:
    model = _model(build(GRAPHS["constants on the way"]))
    for value in model.graph.initializers.values():
        value.shape = None
    assert len(_region(model).constants) == 3


def test_half_precision_stays_half(build: Build, compute: Compute, deviation: Deviation) -> None:
    model = _model(build(GRAPHS["relu"].replace("float[", "float16[")))
    before = compute(model)
    split(_region(model), _copies(C, 0))
    assert {value.dtype for value in model.graph.initializers.values() if value.uses()} == {ir.DataType.FLOAT16}
    assert deviation(before, compute(model)) < 0.01


@pytest.mark.parametrize("kind", ["float[", "float16["])
def test_no_bit_is_lost_where_copies_are_a_power_of_two(kind: str, build: Build) -> None:
    model = _model(build(GRAPHS["relu"].replace("float[", kind)))
    tensors = {name: value.const_value for name, value in model.graph.initializers.items()}
    old = {name: tensor.numpy() for name, tensor in tensors.items() if tensor is not None}
    copies = np.array([1, 2, 4, 8, 1, 2])
    order = split(_region(model), copies)
    new = {name: value.const_value for name, value in model.graph.initializers.items() if value.const_value}
    np.testing.assert_array_equal(new["w"].numpy(), old["w"][:, order])
    np.testing.assert_array_equal(new["b.split"].numpy(), old["b"][order])
    np.testing.assert_array_equal(new["u"].numpy() * copies[order, None], old["u"][order])


def test_one_copy_of_each_changes_nothing(build: Build) -> None:
    model = _model(build(GRAPHS["swiglu"]))
    before = ir.to_proto(model)
    np.testing.assert_array_equal(split(_region(model), np.ones(C, np.intp)), np.arange(C))
    assert ir.to_proto(model) == before


@pytest.mark.parametrize(
    ("copies", "message"),
    [
        (np.ones(C - 1, np.intp), "the region has 6 channels"),
        (np.ones((1, C), np.intp), "the region has 6 channels"),
        (np.array([1, 1, 2, 0, 1, 1]), "from 1 on"),
        (np.array([1, 1, 2, -1, 1, 1]), "from 1 on"),
        (np.full(C, 1.5), "whole numbers"),
    ],
)
def test_copies_that_do_not_fit_change_nothing(copies: NDArray[np.intp], message: str, build: Build) -> None:
    model = _model(build(GRAPHS["swiglu"]))
    before = ir.to_proto(model)
    with pytest.raises(ValueError, match=f"^a: .*{message}"):
        split(_region(model), copies)
    assert ir.to_proto(model) == before


@pytest.mark.parametrize("name", ["swiglu", "gemm", "conv 3x3", "a consumer that produces", "dropout with its mask"])
def test_weights_are_not_read_before_they_are_needed(name: str, build: Build) -> None:
    model, reads = _model(build(GRAPHS[name])), list[str]()
    for value in model.graph.initializers.values():
        tensor = value.const_value
        assert tensor is not None
        if tensor.size > 1:
            value.const_value = _watched(tensor, reads)
    wider = len(split(_region(model), _copies(C, 0)))
    split(_region(model), _copies(wider, 1))
    assert reads == []
    weight = model.graph.initializers["u3" if "conv" in name else "u"].const_value
    assert weight is not None
    weight.numpy()
    assert reads == [weight.name]


def _watched(tensor: ir.TensorProtocol, reads: list[str]) -> ir.LazyTensor:
    def read() -> ir.TensorProtocol:
        reads.append(str(tensor.name))
        return tensor

    return ir.LazyTensor(read, dtype=tensor.dtype, shape=ir.Shape(tensor.shape.numpy()), name=tensor.name)


ALONE = "which is not elementwise"
REFUSED: dict[str, tuple[str, str]] = {
    "no consumer": (f"{HEAD} {{ {MADE}  a = Relu(h)  y = Softmax(a) }}", "no linear layer reads 'a'"),
    "a weight made at run time": (
        f"{HEAD} {{ {MADE}  a = Relu(h)  t = Transpose<perm = [0, 2, 1]>(a)  y = MatMul(a, t) }}",
        "no linear layer reads 'a'",
    ),
    "an input": (
        f"{HEAD.replace('[B,T,4] x', '[B,T,6] a')} {{ y = MatMul(a, u) }}",
        "'a' is not computed by any layer",
    ),
    "an output": (
        f"{HEAD.replace('M] y', 'M] y, float[B,T,6] h')} {{ {MADE}  a = Relu(h)  {READ} }}",
        "'h' is an output of the graph",
    ),
    "no linear upstream": (
        f"{HEAD.replace('[B,T,4] x', '[B,T,6] x')} {{ a = Softmax(x)  {READ} }}",
        f"'a' is computed by Softmax, {ALONE}",
    ),
    "a norm upstream": (
        f"{HEAD} {{ {MADE}  n = LayerNormalization(h, b)  a = Relu(n)  {READ} }}",
        f"'n' is computed by LayerNormalization, {ALONE}",
    ),
    "a softmax reads it": (
        f"{HEAD} {{ {MADE}  a = Relu(h)  s = Softmax(h)  t = MatMul(s, u)  e = MatMul(a, u)  y = Add(e, t) }}",
        f"'h' is read by Softmax, {ALONE}",
    ),
    "a norm reads it": (
        f"{HEAD} {{ {MADE}  a = Relu(h)  s = LayerNormalization(a, b)  t = MatMul(s, z)  e = MatMul(a, u)"
        "  y = Add(e, t) }",
        f"'a' is read by LayerNormalization, {ALONE}",
    ),
    "its shape is read": (
        f"{HEAD} {{ {MADE}  a = Relu(h)  s = Shape(a)  f = Cast<to = 1>(s)  t = ReduceMax(f)  e = MatMul(a, u)"
        "  y = Add(e, t) }",
        f"'a' is read by Shape, {ALONE}",
    ),
    "a residual": (
        f"{HEAD.replace('[B,T,4] x)', '[B,T,4] x, float[B,T,6] residual)')} {{ {MADE}  a = Add(h, residual)  {READ} }}",
        "'residual' is not computed by any layer",
    ),
    "a reshape": (
        f"{HEAD} {{ {MADE}  r1 = Reshape(h, heads)  r2 = Relu(r1)  a = Reshape(r2, flat)  {READ} }}",
        f"'a' is computed by Reshape, {ALONE}",
    ),
    "dropout that drops": (
        f"{HEAD} {{ {MADE}  a = Dropout(h, half, always)  {READ} }}",
        "'a' is computed by Dropout in training mode",
    ),
    "dropout that may": (
        f"{HEAD.replace('[B,T,4] x)', '[B,T,4] x, bool mode)')} {{ {MADE}  a = Dropout(h, half, mode)  {READ} }}",
        "'a' is computed by Dropout in training mode",
    ),
    "another node reads a producer's weight": (
        f"{HEAD} {{ {MADE}  a = Relu(h)  e = MatMul(a, u)  s = ReduceMax(w)  y = Add(e, s) }}",
        "constant 'w' is a weight that 'ReduceMax' reads too",
    ),
    "another node reads a consumer's weight": (
        f"{HEAD} {{ {MADE}  a = Relu(h)  s = Softmax(b)  t = MatMul(s, u)  e = MatMul(a, u)  y = Add(e, t) }}",
        "constant 'u' is a weight that 'MatMul' reads too",
    ),
    "one weight produces and reads": (
        f"{HEAD} {{ {MADE}  t = MatMul(x, v)  i = Softmax(t)  j = MatMul(i, q)  a = Mul(h, j)  y = MatMul(a, q) }}",
        "constant 'q' is a weight that is used in two ways",
    ),
    "a grouped consumer": (
        f"{IMAGE} {{ h = Conv(x, w, b)  a = Relu(h)  y = Conv<group = 2>(a, ug) }}",
        "Conv 'y' is a grouped convolution",
    ),
    "a grouped producer": (
        f"{IMAGE} {{ h = Conv<group = 2>(x, wg, b)  a = Relu(h)  y = Conv(a, u) }}",
        "Conv 'h' is a grouped convolution",
    ),
    "another axis": (
        f"{IMAGE} {{ h = Conv(x, w, b)  a = Relu(h)  e = Conv(a, u)  f = MatMul(a, m)  g = ReduceMax(f)"
        "  y = Add(e, g) }",
        "MatMul 'f' has its channels along another axis",
    ),
    "channels that a constant makes": (
        f"{HEAD} {{ p = MatMul(x, narrow)  a = Relu(p)  e = MatMul(a, wide)  f = Mul(a, b)  g = MatMul(f, u)"
        "  y = Add(e, g) }",
        "constant 'b' has 6 channels instead of 1",
    ),
    "a weight that is a bias too": (
        "(float[B,1] x) => (float[B,M] y) <float[1,6] w, float[6,3] u> { a = Gemm(x, w, w)  y = MatMul(a, u) }",
        "constant 'w' is a weight that 'Gemm' reads too",
    ),
    "integers": (
        "(int64[B,4] x) => (int64[B,M] y) <int64[4,6] w, int64[6,3] u>"
        " { p = MatMul(x, w)  a = Neg(p)  y = MatMul(a, u) }",
        "MatMul 'y' computes in integers",
    ),
    "inside a body": (
        f"{HEAD} {{ {MADE}  a = Relu(h)  e = MatMul(a, u)"
        "  t = If(always) <then_branch = yes () => (float[B,T,6] i) { i = Relu(a) },"
        " else_branch = no () => (float[B,T,6] j) { j = Neg(h) }>  s = ReduceMax(t)  y = Add(e, s) }",
        "'a' is read inside a subgraph",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_region_is_refused_with_its_reason(name: str, build: Build) -> None:
    text, reason = REFUSED[name]
    model = _model(build(text))
    before = ir.to_proto(model)
    region = find_region(ir.convenience.create_value_mapping(model.graph)["a"])
    assert isinstance(region, Refusal)
    assert region.reason == reason
    assert ir.to_proto(model) == before


def test_a_weight_that_is_an_output_is_refused(build: Build) -> None:
    model = _model(build(GRAPHS["relu"]))
    model.graph.outputs.append(model.graph.initializers["u"])
    region = find_region(ir.convenience.create_value_mapping(model.graph)["a"])
    assert isinstance(region, Refusal)
    assert region.reason == "constant 'u' is a weight and an output of the graph"
