"""A transformed graph computes what it computed before, whatever the transform; what would not is refused."""

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import TypeAlias

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from onnx.reference import ReferenceEvaluator

from models.synthetic import BUILDERS, Dialect, Outliers, Transformer
from requant.ir.canonical.canonicalize import canonicalize
from requant.ir.channels.find import Refusal, Site, find_sites
from requant.ir.load import load
from requant.ir.transform.apply import ChannelTransform, apply_transform
from requant.ir.transform.cost import added_nodes

Arrays: TypeAlias = list[NDArray[np.generic]]
Build: TypeAlias = Callable[[str], onnx.ModelProto]
Compute: TypeAlias = Callable[[ir.Model], Arrays]
Deviation: TypeAlias = Callable[[Arrays, Arrays], float]

SINGLE, DOUBLE = 1e-4, 1e-10
"""How far outputs may move, of the largest magnitude; transforms reach over two decades and five units."""

SPEC = Transformer(width=16, heads=2, layers=1, outliers=Outliers(2))
seeds = st.integers(0, 2**32 - 1)

HEAD = """(float[B,T,4] x) => (float[B,K,M] y) <float[4] g, float[4] b, float[4,4] w, float[4,4] v, float[4] c,
          float[1,1,4] k, float[2,4] h, float[8,4] u, float e = {0.00001}, float two = {2}, int64[3] back = {0, 0, 4},
          int64[4] heads = {0, 0, 2, 2}, int64[1] end = {9}, int64[1] begin = {-9}, int64[1] last = {-1},
          int64[4] i = {2, 0, 3, 0}>"""
ROWS = "(float[B,4] x) => (float[B,M] y) <float[4] g, float[4] b, float[3,4] w, float[3] c, float[1] one>"
IMAGE = """(float[B,25,4] x) => (float[B,N,K,M] y) <float[4] g, float[4] b, float[3,4,1,1] w, float[3,4,3,3] k,
           float[6,2,3,3] q, float[3] c, int64[4] s = {0, 4, 5, 5}>"""
NORM = "n = LayerNormalization<axis = -1>(x, g, b)"
SQUARE = "q = Pow(x, two)  m = ReduceMean<axes = [-1]>(q)  r = Add(m, e)  o = Sqrt(r)"
PIXELS = f"{NORM}  t = Transpose<perm = [0, 2, 1]>(n)  r = Reshape(t, s)"
LAYER = (
    "n{0} = LayerNormalization<axis = -1>({1}, g, b)  p{0} = MatMul(n{0}, w)  q{0} = MatMul(n{0}, v)"
    "  a{0} = Add(p{0}, c)  d{0} = Mul(a{0}, q{0})  x{0} = Add(d{0}, n{0})  "
)

GRAPHS: dict[str, tuple[str, int, int]] = {
    "layer norm": (f"{HEAD} {{ {NORM}  p = MatMul(n, w)  y = Add(p, c) }}", 0, 0),
    "no beta": (f"{HEAD} {{ n = LayerNormalization(x, g)  p = MatMul(n, w)  y = Add(k, p) }}", 0, 0),
    "no bias": (f"{HEAD} {{ {NORM}  y = MatMul(n, w) }}", 0, 1),
    "no bias, two consumers": (f"{HEAD} {{ {NORM}  p = MatMul(n, w)  r = Relu(p)  y = Add(p, r) }}", 0, 1),
    "shared bias": (
        f"{HEAD} {{ {NORM}  p = MatMul(n, w)  q = Add(p, c)  r = MatMul(x, v)  t = Add(r, c)  y = Add(q, t) }}",
        0,
        0,
    ),
    "fused rms": (
        f"{HEAD[:-1]}, float[B,T,4] n> {{ n = SimplifiedLayerNormalization(x, g)  p = MatMul(n, w)  y = Add(p, c) }}",
        0,
        1,
    ),
    "decomposed rms": (f"{HEAD} {{ {SQUARE}  z = Div(x, o)  n = Mul(z, g)  p = MatMul(n, w)  y = Add(p, c) }}", 0, 1),
    "rms, no bias": (f"{HEAD} {{ {SQUARE}  z = Div(x, o)  n = Mul(g, z)  y = MatMul(n, w) }}", 0, 2),
    "rms with beta": (
        f"{HEAD} {{ {SQUARE}  z = Div(x, o)  f = Mul(z, g)  n = Add(f, b)  p = MatMul(n, w)  y = Add(p, c) }}",
        0,
        0,
    ),
    "gemm": (
        f"{ROWS} {{ n = LayerNormalization(x, g, b)  y = Gemm<transB = 1, alpha = 0.5, beta = 3.0>(n, w, c) }}",
        0,
        0,
    ),
    "gemm, scalar bias": (f"{ROWS} {{ n = LayerNormalization(x, g)  y = Gemm<transB = 1>(n, w, one) }}", 0, 0),
    "gemm, no bias": (
        f"{ROWS} {{ n = LayerNormalization(x, g)  y = Gemm<transB = 1, alpha = 2.0, beta = 5.0>(n, w) }}",
        0,
        0,
    ),
    "conv 1x1": (f"{IMAGE} {{ {PIXELS}  y = Conv(r, w, c) }}", 0, 0),
    "conv 3x3": (f"{IMAGE} {{ {PIXELS}  y = Conv<strides = [2, 1]>(r, k) }}", 0, 0),
    "conv in groups": (f"{IMAGE} {{ {PIXELS}  y = Conv<group = 2, dilations = [2, 2]>(r, q) }}", 0, 0),
    "heads": (
        f"{HEAD} {{ {NORM}  a = Reshape(n, heads)  d = Transpose<perm = [0, 2, 1, 3]>(a)"
        "  j = Transpose<perm = [0, 2, 1, 3]>(d)  o = Reshape(j, back)  p = MatMul(o, w)  y = Add(p, c) }",
        0,
        0,
    ),
    "halves": (
        f"{HEAD} {{ {NORM}  a, d = Split<axis = -1>(n)  p = MatMul(d, h)  q = Abs(a)  r = ReduceMax(q)"
        "  f = Add(p, c)  y = Add(f, r) }",
        1,
        2,
    ),
    "backwards": (
        f"{HEAD} {{ {NORM}  a = Slice(n, end, begin, last, last)  p = MatMul(a, w)  y = Add(p, c) }}",
        0,
        0,
    ),
    "picked": (f"{HEAD} {{ {NORM}  a = Gather<axis = -1>(n, i)  p = MatMul(a, w)  y = Add(p, c) }}", 0, 0),
    "doubled": (f"{HEAD} {{ {NORM}  a = Concat<axis = -1>(n, n)  p = MatMul(a, u)  y = Add(p, c) }}", 0, 0),
    "residual": (f"{HEAD} {{ {NORM}  p = MatMul(n, w)  q = Add(p, c)  y = Add(q, n) }}", 1, 1),
    "several edges": (
        f"{HEAD} {{ {NORM}  z = Mul(n, n)  p = MatMul(n, w)  q = Add(p, z)  y = Add(n, q) }}",
        1,
        3,
    ),
    "edges of two values": (
        f"{HEAD} {{ {NORM}  t = Transpose<perm = [0, 2, 1]>(n)  z = MatMul(n, t)  p = MatMul(n, w)"
        "  f = Add(p, c)  q = MatMul(z, f)  y = Add(q, n) }",
        2,
        4,
    ),
    "shared weights": (f"{HEAD} {{ {LAYER.format(1, 'x')} {LAYER.format(2, 'x1')} y = Relu(x2) }}", 2, 6),
    "norm after norm": (
        f"{HEAD} {{ {NORM}  f = LayerNormalization<axis = -1>(n, g, c)  p = MatMul(n, w)  q = MatMul(f, v)"
        "  y = Add(p, q) }",
        1,
        4,
    ),
}


def _sites(model: ir.Model) -> list[Site]:
    places = find_sites(model)
    sites = [site for site in places if isinstance(site, Site)]
    assert sites
    assert not [item for item in places if isinstance(item, Refusal) and item.kind in ("LayerNorm", "RMSNorm")]
    return sites


def _transform(channels: int, rng: np.random.Generator, *, shift: bool = True) -> ChannelTransform:
    scale = np.exp(rng.uniform(np.log(0.1), np.log(10), channels))
    return ChannelTransform(scale, rng.uniform(-5, 5, channels) * shift)


def _canonical(proto: onnx.ModelProto) -> ir.Model:
    model = load(proto)
    canonicalize(model)
    return model


def _transform_all(model: ir.Model, seed: int, *, shift: bool = True) -> int:
    """Transform every site by a random transform; returns the number of nodes added, as predicted."""
    rng, total = np.random.default_rng(seed), 0
    for site in _sites(model):
        transform = _transform(site.channels, rng, shift=shift and not site.shift_blocked)
        before, predicted = len(model.graph), added_nodes(site, transform)
        added = apply_transform(site, transform)
        assert added == predicted == len(model.graph) - before
        total += added
    return total


def _double(text: str) -> str:
    return text.replace("float[", "double[").replace("float ", "double ")


def _precise(model: ir.Model, compute: Compute) -> Arrays:
    """Outputs in double; ONNX Runtime has no such Conv."""
    if not any(node.op_type == "Conv" for node in model.graph):
        return compute(model)
    x = np.random.default_rng(0).standard_normal((2, 25, 4))
    return list(ReferenceEvaluator(ir.to_proto(model)).run(None, {"x": x}))


@pytest.mark.parametrize("name", GRAPHS)
@given(seed=seeds)
def test_any_transform_keeps_the_outputs(
    name: str, build: Build, compute: Compute, deviation: Deviation, seed: int
) -> None:
    text, scaling, shifting = GRAPHS[name]
    for shift, added in ((False, scaling), (True, shifting)):
        model = _canonical(build(text))
        before = compute(model)
        assert _transform_all(model, seed, shift=shift) == added
        assert deviation(before, compute(model)) < SINGLE


@pytest.mark.parametrize("name", GRAPHS)
@given(seed=seeds)
def test_in_double_precision_the_rewrite_is_exact(
    name: str, build: Build, compute: Compute, deviation: Deviation, seed: int
) -> None:
    model = _canonical(build(_double(GRAPHS[name][0])))
    before = _precise(model, compute)
    assert before[0].dtype == np.float64
    _transform_all(model, seed)
    assert deviation(before, _precise(model, compute)) < DOUBLE


@pytest.mark.parametrize("name", BUILDERS)
@pytest.mark.parametrize(("opset", "dialect"), [(23, "fused"), (14, "pytorch"), (11, "paddle")])
@given(seed=seeds)
def test_any_transform_keeps_transformers(
    name: str, opset: int, dialect: Dialect, compute: Compute, deviation: Deviation, seed: int
) -> None:
    model = _canonical(BUILDERS[name](replace(SPEC, opset=opset, dialect=dialect)))
    before = compute(model)
    _transform_all(model, seed)
    assert deviation(before, compute(model)) < SINGLE


@pytest.mark.parametrize("name", GRAPHS)
def test_transforms_compose(name: str, build: Build, compute: Compute, deviation: Deviation) -> None:
    model = _canonical(build(_double(GRAPHS[name][0])))
    before = _precise(model, compute)
    for seed in range(3):
        _transform_all(model, seed)
    assert deviation(before, _precise(model, compute)) < DOUBLE


@pytest.mark.parametrize("name", GRAPHS)
def test_values_are_transform_all(name: str, build: Build, compute: Compute) -> None:
    model = _canonical(build(_double(GRAPHS[name][0])))
    site = _sites(model)[0]
    transform = _transform(site.channels, np.random.default_rng(0))
    model.graph.outputs.append(site.values[0])
    before = np.asarray(_precise(model, compute)[-1], np.float64)
    model.graph.outputs.pop()
    name_of_value = site.name
    apply_transform(site, transform)
    model.graph.outputs.append(ir.convenience.create_value_mapping(model.graph)[name_of_value])
    after = np.asarray(_precise(model, compute)[-1], np.float64)
    np.testing.assert_allclose(after, (before - transform.shift) / transform.scale, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", GRAPHS)
def test_the_identity_adds_nothing(name: str, build: Build, compute: Compute) -> None:
    model = _canonical(build(GRAPHS[name][0]))
    before, ops = compute(model), Counter(node.op_type for node in model.graph)
    for site in _sites(model):
        assert ChannelTransform.identity(site.channels).is_identity
        assert apply_transform(site, ChannelTransform.identity(site.channels)) == 0
    assert Counter(node.op_type for node in model.graph) == ops
    np.testing.assert_array_equal(compute(model)[0], before[0])


@pytest.mark.parametrize("name", GRAPHS)
def test_names_shapes_and_types_survive(name: str, build: Build) -> None:
    model = _canonical(build(GRAPHS[name][0]))
    model.graph.name = "kept"
    _transform_all(model, 0)
    assert [value.name for value in model.graph.inputs] == ["x"]
    assert [value.name for value in model.graph.outputs] == ["y"]
    for value in (value for node in model.graph for value in node.outputs):
        assert value.shape is not None
        assert value.type is not None
        assert len(value.shape) >= 1 or name == "halves"
    names = [value.name for node in model.graph for value in (*node.inputs, *node.outputs) if value is not None]
    assert None not in names
    if name != "fused rms":  # not an op of ONNX
        onnx.checker.check_model(ir.to_proto(model), full_check=True)


def test_half_precision_stays_half(build: Build, compute: Compute, deviation: Deviation) -> None:
    text = GRAPHS["residual"][0].replace("float[", "float16[")
    model = _canonical(build(text))
    before = compute(model)
    _transform_all(model, 0)
    dtypes = {value.dtype for value in model.graph.initializers.values() if value.uses()}
    assert dtypes == {ir.DataType.FLOAT16}
    assert deviation(before, compute(model)) < 0.05


def test_weights_are_scaled_when_they_are_read(build: Build) -> None:
    model = _canonical(build(GRAPHS["layer norm"][0]))
    apply_transform(_sites(model)[0], ChannelTransform(np.arange(1.0, 5.0), np.zeros(4)))
    weight = model.graph.initializers["w"].const_value
    assert isinstance(weight, ir.LazyTensor)
    original = load(build(GRAPHS["layer norm"][0])).graph.initializers["w"].const_value
    assert original is not None
    np.testing.assert_allclose(weight.numpy(), original.numpy() * np.arange(1.0, 5.0)[:, None], rtol=1e-6)


def test_a_shared_parameter_stays_for_its_other_users(build: Build, compute: Compute, deviation: Deviation) -> None:
    text = f"""{HEAD} {{ {NORM}  p = MatMul(n, w)  q = Add(p, c)  f = LayerNormalization<axis = -1>(x, g, b)
        o = Add(f, c)  z = Mul(o, g)  y = Add(q, z) }}"""
    model = _canonical(build(text))
    before = compute(model)
    (site,) = [site for site in find_sites(model) if isinstance(site, Site)]
    apply_transform(site, _transform(4, np.random.default_rng(0)))
    assert deviation(before, compute(model)) < SINGLE


@pytest.mark.parametrize(
    ("scale", "shift", "message"),
    [
        (np.ones(3), np.zeros(4), "has 4 channels"),
        (np.ones(4), np.zeros(5), "has 4 channels"),
        (np.ones((1, 4)), np.zeros(4), "has 4 channels"),
        (np.array([1.0, 0.0, 1.0, 1.0]), np.zeros(4), "positive"),
        (np.array([1.0, -2.0, 1.0, 1.0]), np.zeros(4), "positive"),
        (np.array([1.0, np.inf, 1.0, 1.0]), np.zeros(4), "finite"),
        (np.array([1.0, np.nan, 1.0, 1.0]), np.zeros(4), "finite"),
        (np.ones(4), np.array([0.0, np.nan, 0.0, 0.0]), "finite"),
        (np.ones(4), np.array([0.0, np.inf, 0.0, 0.0]), "finite"),
    ],
)
def test_an_illegal_transform_changes_nothing(
    scale: NDArray[np.float64], shift: NDArray[np.float64], message: str, build: Build
) -> None:
    model = _canonical(build(GRAPHS["residual"][0]))
    before = ir.to_proto(model)
    with pytest.raises(ValueError, match=message):
        apply_transform(_sites(model)[0], ChannelTransform(scale, shift))
    assert ir.to_proto(model) == before


def test_a_shift_before_zero_padding_is_refused(build: Build, compute: Compute, deviation: Deviation) -> None:
    model = _canonical(build(f"{IMAGE} {{ {PIXELS}  y = Conv<pads = [1, 1, 1, 1]>(r, k) }}"))
    before, (site,) = compute(model), _sites(model)
    with pytest.raises(ValueError, match="no shift is allowed, because 'y' pads its input with zeros"):
        apply_transform(site, ChannelTransform(np.ones(4), np.array([0.0, 0.0, 1e-3, 0.0])))
    apply_transform(site, _transform(4, np.random.default_rng(0), shift=False))
    assert deviation(before, compute(model)) < SINGLE


def test_zero_padding_between_norm_and_consumer_gets_the_old_value(
    build: Build, compute: Compute, deviation: Deviation
) -> None:
    text = f"""{HEAD.replace("int64[4] i", "int64[6] pads = {0, 1, 0, 0, 2, 0}, int64[4] i")} {{ {NORM}
        a = Pad(n, pads)  p = MatMul(a, w)  q = MatMul(n, v)  r = ReduceMax(q)  y = Add(p, r) }}"""
    model = _canonical(build(text))
    before = compute(model)
    _transform_all(model, 0)
    assert deviation(before, compute(model)) < SINGLE
