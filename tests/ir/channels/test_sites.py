"""The places that can be transformed, what takes part, and why other places cannot."""

from collections import Counter
from collections.abc import Callable
from typing import TypeAlias

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from models.synthetic import BUILDERS, Outliers, Transformer
from requant.ir.canonical.canonicalize import canonicalize
from requant.ir.channels.find import Refusal, Site, find_sites
from requant.ir.load import load

Build: TypeAlias = Callable[[str], onnx.ModelProto]
SPEC = Transformer(width=16, heads=2, layers=1, outliers=Outliers(2))

TRANSFORMERS = {
    "pre_norm": "LayerNorm:3 QK:0 Attention:1 LayerNorm:1 LayerNorm:1",
    "post_norm": "LayerNorm:3+Add QK:0 Attention:1 LayerNorm:1+Add LayerNorm:1",
    "rms_swiglu": "RMSNorm:3 QK:0 Attention:1 RMSNorm:2 GatedMLP:1 RMSNorm:1",
    "windowed": "LayerNorm:1 QK:0 Attention:1 LayerNorm:1 LayerNorm:1",
}
"""Sites in graph order: kind, number of consumers, and ops at inverse edges."""

HEAD = """(float[B,T,4] x) => (float[B,K,M] y) <float[4] g, float[4] b, float[4,4] w, float[4,4] v, float[2,4] h,
          float[8,4] u, float one = {1}, int64[6] p = {0, 0, 0, 0, 1, 0}, int64[3] s = {0, -1, 4}>"""
NORM = "n = LayerNormalization<axis = -1>(x, g, b)"

SITES = {
    "residual": ("y1 = MatMul(n, w)  y = Add(y1, n)", "MatMul", "Add"),
    "read twice by one node": ("y1 = MatMul(n, w)  z = Mul(n, n)  y = Add(y1, z)", "MatMul", "Mul Mul"),
    "activation": ("r = Relu(n)  a = MatMul(r, w)  c = MatMul(n, v)  y = Add(a, c)", "MatMul MatMul", ""),
    "activation read twice": ("r = Relu(n)  a = MatMul(r, w)  c = MatMul(n, v)  d = Add(a, r)  y = Add(d, c)",
                                  "MatMul", "Relu"),
    "gelu": ("r = Erf(n)  a = MatMul(r, w)  c = MatMul(n, v)  y = Add(a, c)", "MatMul", "Erf"),
    "next norm": ("m = LayerNormalization<axis = -1>(n, g, b)  a = MatMul(m, w)  c = MatMul(n, v)  y = Add(a, c)",
                  "MatMul", "LayerNormalization"),
    "zero pad": ("q = Pad(n, p)  a = MatMul(q, w)  c = MatMul(n, v)  d = ReduceMax(c)  y = Add(a, d)",
                 "MatMul MatMul", ""),
    "reflected pad": ('q = Pad<mode = "reflect">(n, p)  a = MatMul(q, w)  c = MatMul(n, v)  d = ReduceMax(c)'
                      "  y = Add(a, d)", "MatMul MatMul", ""),
    "its shape alone": ("f = Shape(n)  z = ConstantOfShape(f)  a = MatMul(n, w)  y = Add(a, z)", "MatMul", ""),
    "concat of itself": ("c = Concat<axis = 1>(n, n)  y = MatMul(c, w)", "MatMul", ""),
    "concat with a detour": ("d = Transpose<perm = [0, 2, 1]>(n)  e = Transpose<perm = [0, 2, 1]>(d)"
                             "  c = Concat<axis = 1>(n, e)  y = MatMul(c, w)", "MatMul", ""),
    "concat of its channels": ("c = Concat<axis = -1>(n, n)  y = MatMul(c, u)", "MatMul", ""),
    "concat with an input": ("c = Concat<axis = -1>(n, x)  a = MatMul(c, u)  d = MatMul(n, w)  y = Add(a, d)",
                               "MatMul MatMul", ""),
    "half of the channels": ("e, f = Split<axis = -1>(n)  a = MatMul(e, h)  c = MatMul(f, h)  y = Add(a, c)",
                             "MatMul MatMul", ""),
    "one half": ("e, f = Split<axis = -1>(n)  a = MatMul(e, h)  d = ReduceMax(f)  y = Add(a, d)",
                 "MatMul", "ReduceMax"),
    "transposed away": ("r = Transpose<perm = [0, 2, 1]>(n)  z = MatMul(r, x)  a = MatMul(n, w)  d = ReduceMax(z)"
                        "  y = Add(a, d)", "MatMul", "MatMul"),
    "right of a product": ("r = Transpose<perm = [0, 2, 1]>(x)  z = MatMul(r, n)  a = MatMul(n, w)"
                           "  d = ReduceMax(z)  y = Add(a, d)", "MatMul", "MatMul"),
    "through reshapes": ("r = Reshape(n, s)  y = MatMul(r, w)", "MatMul", ""),
    "square weight both ways": ("a = MatMul(n, w)  y = Add(a, a)", "MatMul", ""),
}  # fmt: skip

REFUSED = {
    "graph output": ("(float[B,4] x) => (float[B,4] n, float[B,4] y) <float[4] g, float[4,4] w> "
                     "{ n = LayerNormalization(x, g)  y = MatMul(n, w) }", "is an output of the graph"),
    "moved output": ("(float[B,4] x) => (float[4,B] t, float[B,4] y) <float[4] g, float[4,4] w> "
                     "{ n = LayerNormalization(x, g)  t = Transpose(n)  y = MatMul(n, w) }", "output of the graph"),
    "no consumer": ("(float[B,4] x) => (float[B,4] y) <float[4] g> { n = LayerNormalization(x, g)  y = Relu(n) }",
                  "no linear layer reads it"),
    "runtime gamma": ("(float[B,4] x, float[4] g) => (float[B,4] y) <float[4,4] w> "
                      "{ n = LayerNormalization(x, g)  y = MatMul(n, w) }", "scale is computed at run time"),
    "body of an If": ("""(float[B,4] x, bool c) => (float[B,4] y) <float[4] g, float[4,4] w> {
        n = LayerNormalization(x, g)  m = MatMul(n, w)
        y = If (c) <then_branch = a () => (float[B,4] p) { p = Add(n, m) },
                    else_branch = b () => (float[B,4] q) { q = Relu(m) }> }""", "inside a subgraph"),
    "weight that is read elsewhere": ("(float[B,4] x) => (float[B,4] y) <float[4] g, float[4,4] w> "
                             "{ n = LayerNormalization(x, g)  a = MatMul(n, w)  c = MatMul(x, w)  y = Add(a, c) }",
                             "is also read by"),
    "embedding": ("(int64[T] i) => (float[T,9] y) <float[4] g, float[9,4] w> "
                  "{ x = Gather(w, i)  n = LayerNormalization(x, g)  y = Gemm<transB = 1>(n, w) }",
                  "is also read by 'x'"),
    "two layouts": ("(float[B,4] x) => (float[B,4] y) <float[4] g, float[4,4] w> "
                    "{ n = LayerNormalization(x, g)  a = MatMul(n, w)  c = Gemm<transB = 1>(n, w)  y = Add(a, c) }",
                    "along different axes"),
}  # fmt: skip


SHARED_WEIGHTS = {
    "two orders": ("(float[B,4] x) => (float[B,4] y) <float[4] g, float[4,4] w, int64[4] i = {3, 2, 1, 0}> "
                   "{ n = LayerNormalization(x, g)  a = MatMul(n, w)  r = Gather<axis = -1>(n, i)"
                   "  c = MatMul(r, w)  y = Add(a, c) }", [[0, 1, 1, 0]]),
    "two halves": ("(float[B,4] x) => (float[B,4] y) <float[4] g, float[2,4] w> { n = LayerNormalization(x, g)"
                   "  a, b = Split<axis = -1>(n)  c = MatMul(a, w)  d = MatMul(b, w)  y = Add(c, d) }",
                   [[0, 1, 0, 1]]),
    "a narrower norm": ("(float[B,4] x) => (float[B,4] y) <float[4] g, float[2] f, float[2,4] w> "
                        "{ n = LayerNormalization(x, g)  e, k = Split<axis = -1>(n)  a = MatMul(e, w)"
                        "  l, o = Split<axis = -1>(x)  m = LayerNormalization(l, f)  c = MatMul(m, w)"
                        "  d = Abs(k)  z = ReduceMax(d)  q = Add(a, c)  y = Add(q, z) }", [[0, 1, 2, 3], [0, 1]]),
}  # fmt: skip
"""Graphs whose consumers share a weight, and the site's channel at each channel of its norms."""

NO_SHIFT = {"activation": "Relu 'r' does not commute with a per-channel shift", "zero pad": "Pad 'q' pads with zeros"}
"""Graphs of SITES in which no shift is allowed, and why."""


def _places(model: onnx.ModelProto) -> list[Site | Refusal]:
    canonical = load(model)
    canonicalize(canonical)
    return find_sites(canonical)


def _sites(model: onnx.ModelProto) -> list[Site]:
    return [site for site in _places(model) if isinstance(site, Site)]


def _only(model: onnx.ModelProto) -> Site:
    (site,) = _sites(model)
    return site


def _shown(site: Site) -> str:
    edges = "+".join(["", *(edge.slot[0].op_type for edge in site.inverse_edges)])
    return f"{site.kind}:{len(site.consumers)}{edges}"


@pytest.mark.parametrize("name", BUILDERS)
def test_transformers_have_a_site_at_every_norm_and_inside_attention(name: str) -> None:
    sites = _sites(BUILDERS[name](SPEC))
    assert " ".join(_shown(site) for site in sites) == TRANSFORMERS[name]
    for site in sites:
        assert site.channels == SPEC.mlp_width if site.kind == "GatedMLP" else SPEC.width
        assert (site.shift_blocked is None) == (site.kind != "GatedMLP")
        for consumer in site.consumers:
            np.testing.assert_array_equal(consumer.channels, np.arange(site.channels))


@pytest.mark.parametrize("name", SITES)
def test_every_consumer_is_absorbed_or_an_inverse_edge(name: str, build: Build) -> None:
    body, consumers, inverse_edges = SITES[name]
    site = _sites(build(f"{HEAD} {{ {NORM} {body} }}"))[0]
    assert Counter(consumer.linear.node.op_type for consumer in site.consumers) == Counter(consumers.split())
    assert Counter(edge.slot[0].op_type for edge in site.inverse_edges) == Counter(inverse_edges.split())
    assert site.shift_blocked == NO_SHIFT.get(name)
    for edge in site.inverse_edges:
        node, position = edge.slot
        assert node.inputs[position] is not None


@pytest.mark.parametrize("name", REFUSED)
def test_a_place_that_is_no_site_says_why(name: str, build: Build) -> None:
    text, reason = REFUSED[name]
    places = [item for item in _places(build(text)) if isinstance(item, Refusal)]
    assert not _sites(build(text))
    assert reason in places[0].reason
    assert places[0].name in {"n", "y", "m"}


@pytest.mark.parametrize("name", SHARED_WEIGHTS)
def test_channels_that_share_a_row_of_a_weight_are_equal(name: str, build: Build) -> None:
    text, channels = SHARED_WEIGHTS[name]
    assert [list(producer.channels) for producer in _only(build(text)).producers] == channels


def test_consumers_have_the_channels_that_they_read(build: Build) -> None:
    site = _only(
        build("""(float[B,T,4] x) => (float[B,T,4] y)
        <float[4] g, float[2,4] w, float[2,4] v, int64[2] i = {3, 0}> {
            n = LayerNormalization(x, g)  a, b = Split<axis = -1>(n)  c = Gather<axis = -1>(n, i)
            d = MatMul(b, w)  e = MatMul(c, v)  f = ReduceMax(a)  h = Add(d, e)  y = Add(h, f) }""")
    )
    assert [list(consumer.channels) for consumer in site.consumers] == [[2, 3], [3, 0]]
    assert [list(edge.channels.ravel()) for edge in site.inverse_edges] == [[0, 1]]


@pytest.mark.parametrize(
    ("attributes", "reason"),
    [
        ("pads = [1, 1, 1, 1]", "'y' pads its input with zeros"),
        ('auto_pad = "SAME_UPPER"', "'y' pads its input with zeros"),
        ("group = 1", None),
    ],
)
def test_a_zero_padded_conv_blocks_the_shift(attributes: str, reason: str | None, build: Build) -> None:
    site = _only(
        build(f"""(float[B,25,4] x) => (float[B,3,K,M] y)
        <float[4] g, float[3,4,3,3] w, int64[4] s = {{0, 4, 5, 5}}> {{
            n = LayerNormalization(x, g)  t = Transpose<perm = [0, 2, 1]>(n)
            r = Reshape(t, s)  y = Conv<{attributes}>(r, w) }}""")
    )
    assert site.shift_blocked == reason


def test_norms_that_share_weights_are_one_site(build: Build) -> None:
    layer = "n{0} = LayerNormalization<axis = -1>({1}, g, b)  q{0} = MatMul(n{0}, w)  k{0} = MatMul(n{0}, v) "
    layer += " a{0} = Add(q{0}, k{0})  x{0} = Add({1}, a{0}) "
    body = layer.format(1, "x") + layer.format(2, "x1") + layer.format(3, "x2")
    site = _only(build(f"{HEAD} {{ {body} y = Relu(x3) }}"))
    assert [value.name for value in site.values] == ["n1", "n2", "n3"]
    assert len(site.consumers) == 6
    assert len({consumer.linear.weight for consumer in site.consumers}) == 2
    assert (site.name, len(site.values)) == ("n1", 3)


def test_chains_of_shared_weights_are_one_site_each(build: Build) -> None:
    """n1 and n3 share w, n2 and n4 share v, and n4 also shares u with n5: two sites, in graph order."""
    consumers = {1: "w", 2: "v", 3: "w", 4: "v", 5: "z"}
    parts, last = [], "x"
    for layer, weight in consumers.items():
        parts.append(f"n{layer} = LayerNormalization<axis = -1>({last}, g, b)  m{layer} = MatMul(n{layer}, {weight})")
        last = f"m{layer}"
        if layer in (4, 5):
            parts.append(f"c{layer} = Concat<axis = -1>(n{layer}, n{layer})  o{layer} = MatMul(c{layer}, u)")
            parts.append(f"s{layer} = Add(m{layer}, o{layer})")
            last = f"s{layer}"
    head = HEAD.replace("float[4,4] v,", "float[4,4] v, float[4,4] z,")
    sites = _sites(build(f"{head} {{ {'  '.join(parts)}  y = Relu({last}) }}"))
    names = [[value.name for value in site.values] for site in sites if isinstance(site, Site)]
    assert names == [["n1", "n3"], ["n2", "n4", "n5"]]


def test_one_other_user_of_a_weight_refuses_all_that_share_it(build: Build) -> None:
    body = f"{NORM}  a = MatMul(n, w)  m = LayerNormalization<axis = -1>(a, g, b)  c = MatMul(m, w)  y = MatMul(c, w)"
    places = _places(build(f"{HEAD} {{ {body} }}"))
    assert [(item.name, type(item)) for item in places] == [(name, Refusal) for name in ("n", "m", "c")]


def test_finding_sites_reads_no_weights(build: Build) -> None:
    model = load(build(f"{HEAD} {{ {NORM} a = Mul(n, one)  y = MatMul(a, w)  }}"))
    canonicalize(model)

    for name in ("g", "b", "w"):
        value = model.graph.initializers[name]
        assert value.const_value is not None

        def fail() -> ir.TensorProtocol:
            raise AssertionError("read")

        value.const_value = ir.LazyTensor(
            fail, dtype=value.const_value.dtype, shape=ir.Shape(value.const_value.shape.numpy())
        )
    assert find_sites(model)
